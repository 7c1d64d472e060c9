#include "config/version.hpp"

#include <boost/version.hpp>
#include <curl/curl.h>
#include <nlohmann/detail/abi_macros.hpp>
#include <spdlog/version.h>

#include <algorithm>

namespace supervisor {
namespace {

std::string dotted(int major, int minor, int patch) {
    return std::to_string(major) + '.' + std::to_string(minor) + '.' + std::to_string(patch);
}

}  // namespace

std::string version_text() {
    std::string boost{BOOST_LIB_VERSION};
    std::replace(boost.begin(), boost.end(), '_', '.');
    // Debian's patches change nothing in curl's own text, "libcurl/8.14.1 mbedTLS/2.28.3".
    std::string curl{curl_version()};
    curl.insert(std::min(curl.size(), curl.find(' ')),
                std::string{" (with the security patches of Debian's "}.append(curl_patches) + ')');
    std::string text = "prefect-supervisor ";
    text.append(version).append(" (commit ").append(commit).append(", ").append(compiler).append(")\n");
    text += "Boost/" + boost + ' ' + curl + " spdlog/" + dotted(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH) +
            " nlohmann_json/" +
            dotted(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH) + '\n';
    return text;
}

}  // namespace supervisor
