#include "token/secret_file.hpp"

#include "base/printable.hpp"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace supervisor {
namespace {

constexpr std::size_t largest_file = std::size_t{64} * 1024;

}  // namespace

Result<Secret> read_secret_file(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "re"), &std::fclose};
    if (!file) {
        return Fault{std::string{"it can't be read: "} + std::strerror(errno)};
    }
    // Without a buffer of the C library's, which nobody wipes.
    std::setvbuf(file.get(), nullptr, _IONBF, 0);
    std::string contents(largest_file + 1, '\0');
    const auto size = std::fread(contents.data(), 1, contents.size(), file.get());
    const bool failed = std::ferror(file.get()) != 0;
    const int error = errno;
    Secret secret{std::move(contents)};
    if (failed) {
        return Fault{std::string{"it can't be read: "} + std::strerror(error)};
    }
    if (size > largest_file) {
        return Fault{"it has more than " + std::to_string(largest_file) + " bytes"};
    }
    return Secret{secret.reveal().substr(0, size)};
}

Result<Secret> platform_token(std::string_view contents, const std::optional<std::string>& json_field) {
    Secret token{json_field ? std::string{} : std::string{contents}};
    if (json_field) {
        auto json = nlohmann::json::parse(contents, nullptr, /*allow_exceptions=*/false);
        const auto field = json.is_object() ? json.find(*json_field) : json.end();
        if (field == json.end() || !field->is_string()) {
            return Fault{"it is not a JSON object with a text in " + printable(*json_field)};
        }
        token = Secret{std::move(field->get_ref<std::string&>())};
    }
    if (token.empty()) {
        return Fault{"it is empty"};
    }
    return token;
}

}  // namespace supervisor
