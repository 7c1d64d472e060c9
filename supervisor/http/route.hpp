#pragma once

#include "base/environment.hpp"
#include "base/fault.hpp"

#include <string>

namespace supervisor {

/// How an https request reaches its server, and whom it believes that it has. Plain http takes no other way than the direct one.
struct Route {
    std::string proxy{};           ///< as curl takes it, `http://user:password@host:port`; empty is none
    std::string proxy_variable{};  ///< the variable that named it
    std::string no_proxy{};        ///< hosts that are reached without it
    std::string authorities{};     ///< a file of certificates of authorities, in PEM
};

/// The route that the environment asks for: the first of https_proxy, HTTPS_PROXY, all_proxy and ALL_PROXY, with no_proxy or
/// NO_PROXY, and SSL_CERT_FILE or else the first file of certificates that is there of those that the distributions have. The
/// faults are that there is none, and that a proxy is no URL of one; neither repeats what may be a password.
Result<Route> read_route(const Environment& environment);

/// The proxy for a message: `host:port`, without what may be a password.
std::string proxy_address(const Route& route);

}  // namespace supervisor
