#include "http/route.hpp"

#include "base/secret.hpp"

#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

namespace supervisor {
namespace {

// Debian, Ubuntu and distroless; Fedora and Red Hat; openSUSE; Red Hat from 7 on; Alpine. The order is that of Go's
// crypto/x509 (root_linux.go).
constexpr std::array<const char*, 5> usual_files{
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"};

constexpr std::array<std::string_view, 7> proxy_schemes{"http",    "https",  "socks",  "socks4",
                                                        "socks4a", "socks5", "socks5h"};

/// Whether curl takes `text` as a proxy. Its own refusal would repeat the password (parse_proxy() in curl's lib/url.c), and if a
/// password has one of #, / and ? in it, curl would take what is before it as the host.
bool is_proxy(const std::string& text) {
    const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url{curl_url(), &curl_url_cleanup};
    const auto part = [&url](CURLUPart which) {
        char* found = nullptr;
        const auto code = curl_url_get(url.get(), which, &found, CURLU_URLDECODE);
        std::string value = found != nullptr ? found : "";
        curl_free(found);
        return std::pair{code, std::move(value)};
    };
    if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) !=
                    CURLUE_OK) {
        return false;
    }
    const auto scheme = part(CURLUPART_SCHEME).second;
    auto [user_code, user] = part(CURLUPART_USER);
    auto [password_code, password] = part(CURLUPART_PASSWORD);
    wipe(user);
    wipe(password);
    const bool has_user = user_code == CURLUE_OK;
    return std::find(proxy_schemes.begin(), proxy_schemes.end(), scheme) != proxy_schemes.end() &&
           (has_user || (user_code == CURLUE_NO_USER && text.find('@') == std::string::npos)) &&
           (password_code == CURLUE_OK || password_code == CURLUE_NO_PASSWORD);
}

}  // namespace

Result<Route> read_route(const Environment& environment) {
    Route route;
    for (const std::string name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
        route.proxy = value_of(environment, name);
        if (!route.proxy.empty()) {
            route.proxy_variable = name;
            if (!is_proxy(route.proxy)) {
                return Fault{
                    name +
                    " is not the URL of a proxy, such as http://user:password@host:port, with %23 for # and %40 for "
                    "@ in the user and the password (it is not shown, because it may hold a password)"};
            }
            break;
        }
    }
    route.no_proxy = value_of(environment, "no_proxy");
    if (route.no_proxy.empty()) {
        route.no_proxy = value_of(environment, "NO_PROXY");
    }
    route.authorities = value_of(environment, "SSL_CERT_FILE");
    if (!route.authorities.empty()) {
        if (::access(route.authorities.c_str(), R_OK) != 0) {
            return Fault{"SSL_CERT_FILE is " + route.authorities + ", which can't be read: " + std::strerror(errno)};
        }
        // It is read later, when the program has left its working directory.
        std::error_code error;
        route.authorities = std::filesystem::absolute(route.authorities, error).string();
        return route;
    }
    std::string looked_at;
    for (const std::string file : usual_files) {
        if (::access(file.c_str(), R_OK) == 0) {
            route.authorities = file;
            return route;
        }
        looked_at += (looked_at.empty() ? "" : ", ") + file;
    }
    return Fault{"there is no file of certificate authorities, which HTTPS needs: looked for " + looked_at +
                 "; install ca-certificates, or name one with SSL_CERT_FILE"};
}

std::string proxy_address(const Route& route) {
    auto address = route.proxy.substr(route.proxy.rfind('@') + 1);
    const auto scheme = address.find("://");
    if (scheme != std::string::npos) {
        address.erase(0, scheme + 3);
    }
    return address.substr(0, address.find('/'));
}

}  // namespace supervisor
