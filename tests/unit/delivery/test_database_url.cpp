#include "delivery/database_url.hpp"
#include "http/percent_encoding.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace supervisor;

namespace {

DatabaseSettings database() { return {.user = "prefect-sa@my-project.iam", .host = "10.0.0.5", .name = "prefect"}; }

}  // namespace

TEST_CASE("Every byte but the unreserved ones is percent-encoded") {
    const std::string unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
    CHECK(percent_encoded(unreserved) == unreserved);
    for (int byte = 0; byte < 256; ++byte) {
        const std::string text(1, static_cast<char>(byte));
        if (unreserved.find(text) == std::string::npos) {
            CAPTURE(byte);
            const auto encoded = percent_encoded(text);
            REQUIRE(encoded.size() == 3);
            CHECK(encoded[0] == '%');
            CHECK(std::stoi(encoded.substr(1), nullptr, 16) == byte);
        }
    }
}

TEST_CASE("The URL carries user, password, host, port and database") {
    const Secret token{"ya29.a/b+c=d%e@f:g h"};
    CHECK(database_url(database(), &token) ==
          "postgresql+asyncpg://prefect-sa%40my-project.iam:ya29.a%2Fb%2Bc%3Dd%25e%40f%3Ag%20h@10.0.0.5:5432/prefect");
}

TEST_CASE("Without a password the URL has none") {
    CHECK(database_url(database(), nullptr) ==
          "postgresql+asyncpg://prefect-sa%40my-project.iam@10.0.0.5:5432/prefect");
}

TEST_CASE("A padded token is passed on to its last dot") {
    const Secret token{"ya29.x......"};
    CHECK(database_url(database(), &token).find(":ya29.x......@") != std::string::npos);
}

TEST_CASE("An IPv6 host is bracketed") {
    auto settings = database();
    settings.host = "fd00::5";
    settings.port = 6543;
    CHECK(database_url(settings, nullptr) == "postgresql+asyncpg://prefect-sa%40my-project.iam@[fd00::5]:6543/prefect");
}

TEST_CASE("The TLS mode is a parameter of asyncpg's") {
    auto settings = database();
    settings.ssl = "verify-full";
    CHECK(database_url(settings, nullptr).ends_with("/prefect?ssl=verify-full"));
}
