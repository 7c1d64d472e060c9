#pragma once

#include "base/secret.hpp"
#include "config/settings.hpp"

#include <string>

namespace supervisor {

/// SQLAlchemy's URL for asyncpg, with the password if there is one. User, password and database name are
/// percent-encoded, an IPv6 host is bracketed (RFC 3986 section 3.2.2), the TLS mode is asyncpg's `ssl=`.
/// SQLAlchemy's make_url() reads every part back byte for byte.
std::string database_url(const DatabaseSettings& database, const Secret* password);

}  // namespace supervisor
