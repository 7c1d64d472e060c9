#include "http/route.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace supervisor {
namespace {

// Debian, Ubuntu and distroless; Fedora and Red Hat; openSUSE; Red Hat from 7 on; Alpine. The order is that of Go's
// crypto/x509 (root_linux.go).
constexpr std::array<const char*, 5> usual_files{
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"};

}  // namespace

Result<Route> read_route(const Environment& environment) {
    Route route;
    for (const std::string name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
        route.proxy = value_of(environment, name);
        if (!route.proxy.empty()) {
            route.proxy_variable = name;
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
