#include "delivery/database_url.hpp"

#include "http/percent_encoding.hpp"

namespace supervisor {

std::string database_url(const DatabaseSettings& database, const Secret* password) {
    std::string url = "postgresql+asyncpg://" + percent_encoded(database.user);
    if (password != nullptr) {
        url += ':' + percent_encoded(password->reveal());
    }
    const bool ipv6 = database.host.find(':') != std::string::npos;
    url += '@' + (ipv6 ? '[' + database.host + ']' : database.host);
    url += ':' + std::to_string(database.port) + '/' + percent_encoded(database.name);
    if (database.ssl) {
        url += "?ssl=" + *database.ssl;
    }
    return url;
}

}  // namespace supervisor
