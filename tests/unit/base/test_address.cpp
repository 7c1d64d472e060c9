#include "base/address.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace supervisor;

TEST_CASE("An address is shown as a URL has it") {
    CHECK(to_string(Address{"0.0.0.0", 8081}) == "0.0.0.0:8081");
    CHECK(to_string(Address{"::1", 8081}) == "[::1]:8081");
}

TEST_CASE("A port is a decimal number from 1 to 65535") {
    CHECK(parse_port("1") == 1);
    CHECK(parse_port("65535") == 65535);
    for (const char* text : {"", "0", "65536", "-1", "+1", " 1", "1 ", "0x50", "1.5", "99999999999999999999"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_port(text).has_value());
    }
}

// The IPv6 address of Google's metadata server is fd20:ce::254
// (https://cloud.google.com/compute/docs/metadata/querying-metadata). A URL needs brackets around it: RFC 3986 3.2.2.
TEST_CASE("A host of a URL may be a name, an IPv4 address or an IPv6 address, each with or without a port") {
    struct Row {
        const char* text;
        const char* in_url;
    };
    const Row rows[] = {
        {"metadata.google.internal", "metadata.google.internal"},
        {"metadata.google.internal:80", "metadata.google.internal:80"},
        {"my_service", "my_service"},
        {"169.254.169.254", "169.254.169.254"},
        {"169.254.169.254:8080", "169.254.169.254:8080"},
        {"fd20:ce::254", "[fd20:ce::254]"},
        {"[fd20:ce::254]", "[fd20:ce::254]"},
        {"[fd20:ce::254]:80", "[fd20:ce::254]:80"},
        {"::1", "[::1]"},
        {"::ffff:169.254.169.254", "[::ffff:169.254.169.254]"},
        {"0:0:0:0:0:0:0:1", "[0:0:0:0:0:0:0:1]"},
    };
    for (const auto& [text, in_url] : rows) {
        CAPTURE(text);
        CHECK(parse_url_host(text) == in_url);
    }
}

TEST_CASE("Anything else is no host of a URL") {
    using namespace std::string_view_literals;
    for (const auto text : {"",
                            ":",
                            ":80",
                            "host:",
                            "host:0",
                            "host:65536",
                            "host:http",
                            "host:80:80",
                            "a b",
                            "host/path",
                            "user@host",
                            "http://host",
                            "http://169.254.169.254",
                            "host?",
                            "host#",
                            "h\xc3\xb6st",
                            "fd20:ce::254::1",
                            "fd20:ce:254",
                            "fd20:ce::g",
                            "fe80::1%eth0",
                            "[",
                            "]",
                            "[]",
                            "[]:80",
                            "[host]",
                            "[host]:80",
                            "[169.254.169.254]",
                            "[fd20:ce::254",
                            "fd20:ce::254]",
                            "fd20:ce::254]:80",
                            "[fd20:ce::254]80",
                            "[fd20:ce::254]:",
                            "[fd20:ce::254]:0",
                            "[[fd20:ce::254]]"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_url_host(text).has_value());
    }
    CHECK_FALSE(parse_url_host("::1\0x"sv).has_value());
    CHECK_FALSE(parse_url_host("host\0x"sv).has_value());
}
