#include "http/route.hpp"

#include "test_folder.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace supervisor;

TEST_CASE("The authorities are those of SSL_CERT_FILE, and a file that can't be read is refused") {
    const TestFolder folder;
    const auto file = folder.write("ca.pem", "", 0600);
    const auto route = read_route({{"SSL_CERT_FILE", file}});
    REQUIRE(route.has_value());
    CHECK(route->authorities == file);
    CHECK(route->proxy.empty());

    const auto missing = read_route({{"SSL_CERT_FILE", folder.path("none")}});
    REQUIRE(!missing.has_value());
    CHECK(missing.error().why ==
          "SSL_CERT_FILE is " + folder.path("none") + ", which can't be read: No such file or directory");
}

TEST_CASE("Without SSL_CERT_FILE one of the distributions' files is taken, or all of them are named") {
    const auto route = read_route({});
    if (route) {
        CHECK(std::filesystem::exists(route->authorities));
    } else {
        CHECK(route.error().why.find("/etc/ssl/certs/ca-certificates.crt") != std::string::npos);
    }
}

TEST_CASE("The proxy is the first of the variables that is set to something") {
    const TestFolder folder;
    Environment environment{{"SSL_CERT_FILE", folder.write("ca.pem", "", 0600)},
                            {"http_proxy", "http://never"},
                            {"ALL_PROXY", "http://all"}};
    const auto proxy = [&environment] { return read_route(environment)->proxy; };
    CHECK(proxy() == "http://all");
    environment["all_proxy"] = "http://lower-all";
    CHECK(proxy() == "http://lower-all");
    environment["HTTPS_PROXY"] = "http://upper";
    CHECK(proxy() == "http://upper");
    environment["https_proxy"] = "";
    CHECK(proxy() == "http://upper");
    environment["https_proxy"] = "http://lower";
    CHECK(proxy() == "http://lower");
    CHECK(read_route(environment)->proxy_variable == "https_proxy");
    environment["NO_PROXY"] = "a";
    CHECK(read_route(environment)->no_proxy == "a");
    environment["no_proxy"] = "b";
    CHECK(read_route(environment)->no_proxy == "b");
}

TEST_CASE("A proxy is shown without its password") {
    CHECK(proxy_address({.proxy = "http://user:pass@word@proxy:3128/"}) == "proxy:3128");
    CHECK(proxy_address({.proxy = "http://proxy:3128"}) == "proxy:3128");
    CHECK(proxy_address({.proxy = "user:password@proxy:3128"}) == "proxy:3128");
    CHECK(proxy_address({.proxy = "proxy"}) == "proxy");
}
