#include "delivery/database_url.hpp"

#include "http/percent_encoding.hpp"

namespace supervisor {

std::string database_url(const DatabaseSettings& database, const Secret* password) {
    std::string url = "postgresql+asyncpg://" + percent_encoded(database.user);
    if (password != nullptr) {
        auto encoded = percent_encoded(password->reveal());
        append_wiping(url, ":");
        append_wiping(url, encoded);
        wipe(encoded);
    }
    const bool ipv6 = database.host.find(':') != std::string::npos;
    append_wiping(url, '@' + (ipv6 ? '[' + database.host + ']' : database.host));
    append_wiping(url, ':' + std::to_string(database.port) + '/' + percent_encoded(database.name));
    if (database.ssl) {
        append_wiping(url, "?ssl=" + *database.ssl);
    }
    return url;
}

}  // namespace supervisor
