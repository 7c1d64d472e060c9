#include "token/token_text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace supervisor {
namespace {

constexpr std::size_t longest_token = 8192;
constexpr std::int64_t longest_life = 86400;

bool is_visible_ascii(char character) { return character > ' ' && character < '\x7f'; }

}  // namespace

Result<Secret> take_token(nlohmann::json& object, const std::string& name) {
    const auto text = object.find(name);
    if (text == object.end() || !text->is_string()) {
        return Fault{"the answer has no " + name};
    }
    // Moved, so that the text exists once from here on and is wiped whichever way this function ends.
    Secret token{std::move(text->get_ref<std::string&>())};
    const auto& characters = token.reveal();
    if (characters.empty() || characters.size() > longest_token) {
        return Fault{name + " is " + std::to_string(characters.size()) + " characters long, allowed is 1 to " +
                     std::to_string(longest_token)};
    }
    if (!std::all_of(characters.begin(), characters.end(), is_visible_ascii)) {
        return Fault{name + " holds a character that is not visible ASCII"};
    }
    return token;
}

Result<std::chrono::seconds> read_expires_in(const nlohmann::json& object) {
    const auto life = object.find("expires_in");
    if (life == object.end() || !life->is_number_integer()) {
        return Fault{"expires_in is missing or not an integer"};
    }
    // The JSON number itself is compared, because a conversion could wrap a number beyond 64 bits into the range.
    if (*life < 1 || *life > longest_life) {
        return Fault{"expires_in is " + life->dump() + ", allowed is 1 to " + std::to_string(longest_life)};
    }
    return std::chrono::seconds{life->get<std::int64_t>()};
}

std::string quote_refusal(std::string_view body, std::size_t longest) {
    if (body.find("access_token") != std::string_view::npos || body.find("accessToken") != std::string_view::npos ||
        body.find("ya29.") != std::string_view::npos) {
        return {};
    }
    std::string text;
    for (const char character : body.substr(0, longest)) {
        const char shown = is_visible_ascii(character) ? character : ' ';
        if (shown != ' ' || (!text.empty() && text.back() != ' ')) {
            text += shown;
        }
    }
    while (!text.empty() && text.back() == ' ') {
        text.pop_back();
    }
    return text.empty() ? text : ": " + text;
}

}  // namespace supervisor
