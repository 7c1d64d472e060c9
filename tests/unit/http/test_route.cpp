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

TEST_CASE("What is no proxy's URL is refused, and no fault repeats it") {
    const TestFolder folder;
    const auto authorities = folder.write("ca.pem", "", 0600);
    const auto why = [&authorities](const std::string& proxy) {
        const auto route = read_route({{"SSL_CERT_FILE", authorities}, {"https_proxy", proxy}});
        return route ? std::string{} : route.error().why;
    };
    for (const std::string good :
         {"proxy", "proxy:3128", "http://proxy:3128/", "https://u:p@proxy", "socks5h://u@[::1]:1080",
          "http://user:p%23%40%2F@proxy:3128", "user:password@proxy"}) {
        CAPTURE(good);
        CHECK(why(good).empty());
    }
    for (const std::string bad :
         {"http://user:MUST#NOT@proxy:3128", "http://user:12#MUST@proxy:3128", "http://user:MUST/NOT@proxy:3128",
          "http://user:MUST?NOT@proxy:3128", "http://user:MUST NOT@proxy:3128", "http://user:MUSTNOT@proxy:3128\n",
          "http://user:MUSTNOT%0a@proxy:3128", "ftp://user:MUSTNOT@proxy:3128", "http://user:MUSTNOT@proxy:99999"}) {
        CAPTURE(bad);
        CHECK(why(bad).starts_with("https_proxy is not the URL of a proxy"));
        CHECK(why(bad).find("MUST") == std::string::npos);
    }
}

TEST_CASE("A proxy is shown without its password") {
    CHECK(proxy_address({.proxy = "http://user:pass@word@proxy:3128/"}) == "proxy:3128");
    CHECK(proxy_address({.proxy = "http://proxy:3128"}) == "proxy:3128");
    CHECK(proxy_address({.proxy = "user:password@proxy:3128"}) == "proxy:3128");
    CHECK(proxy_address({.proxy = "proxy"}) == "proxy");
}
