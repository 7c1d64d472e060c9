#include "token/metadata_token_source.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>

using namespace supervisor;

namespace {

HttpAnswer answer(const std::string& body, long status = 200) {
    return {.status = status, .body = body, .headers = {{"Metadata-Flavor", "Google"}}};
}

std::string token_json(const std::string& token, const std::string& expires_in = "3599") {
    return R"({"access_token":")" + token + R"(","expires_in":)" + expires_in + R"(,"token_type":"Bearer"})";
}

}  // namespace

TEST_CASE("A token takes one request with Google's header and the scope") {
    const auto request = token_request("169.254.169.254", "https://www.googleapis.com/auth/sqlservice.login");
    CHECK(request.url ==
          "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token"
          "?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fsqlservice.login");
    CHECK(request.headers == std::vector<std::string>{"Metadata-Flavor: Google"});
    CHECK(request.connect_timeout == std::chrono::seconds{2});
    CHECK(request.timeout == std::chrono::seconds{5});
    CHECK(request.max_body == 65536);
}

TEST_CASE("A good answer is a token with its life") {
    const auto token = read_token(answer(token_json("ya29.c.abc")));
    REQUIRE(token.has_value());
    CHECK(token->text == Secret{"ya29.c.abc"});
    CHECK(token->expires_in == std::chrono::seconds{3599});
}

TEST_CASE("The bounds of life and length are inside") {
    CHECK(read_token(answer(token_json("t", "1"))).has_value());
    CHECK(read_token(answer(token_json("t", "86400"))).has_value());
    CHECK(read_token(answer(token_json(std::string(8192, 't')))).has_value());
}

TEST_CASE("Padding with dots belongs to the token") {
    const auto padded = "ya29." + std::string(1019, '.');
    REQUIRE(read_token(answer(token_json(padded))).has_value());
    CHECK(read_token(answer(token_json(padded)))->text == Secret{padded});
}

TEST_CASE("Any other answer is a failed try whose reason does not repeat the token") {
    const std::string secret = "ya29.must-not-be-seen";
    struct Row {
        std::string body;
        std::string reason;
    };
    const Row rows[] = {
        {"", "not a JSON object"},
        {"{", "not a JSON object"},
        {token_json(secret).substr(0, 40), "not a JSON object"},
        {"[]", "not a JSON object"},
        {"\"" + secret + "\"", "not a JSON object"},
        {"{}", "no access_token"},
        {R"({"access_token":7,"expires_in":3599})", "no access_token"},
        {R"({"access_token":null,"expires_in":3599})", "no access_token"},
        {token_json(""), "0 characters"},
        {token_json(std::string(8193, 't')), "8193 characters"},
        {token_json(secret + "\\n"), "not visible ASCII"},
        {token_json(secret + " x"), "not visible ASCII"},
        {token_json(secret + "\\u0000"), "not visible ASCII"},
        {token_json(secret + "\\u00e9"), "not visible ASCII"},
        {token_json(secret, "0"), "expires_in is 0"},
        {token_json(secret, "-5"), "expires_in is -5"},
        {token_json(secret, "86401"), "expires_in is 86401"},
        {token_json(secret, "18446744073709551615"), "expires_in is 18446744073709551615"},
        {token_json(secret, "\"3599\""), "not an integer"},
        {token_json(secret, "12.5"), "not an integer"},
        {token_json(secret, "null"), "not an integer"},
        {R"({"access_token":")" + secret + R"("})", "expires_in is missing"},
    };
    for (const auto& [body, reason] : rows) {
        CAPTURE(body);
        const auto token = read_token(answer(body));
        REQUIRE_FALSE(token.has_value());
        CHECK(token.error().why.find(reason) != std::string::npos);
        CHECK(token.error().why.find(secret) == std::string::npos);
    }
}

TEST_CASE("An answer without Google's own header is not the metadata server's") {
    auto other = answer(token_json("ya29.x"));
    other.headers.clear();
    CHECK_FALSE(read_token(other).has_value());
    other.headers["Metadata-Flavor"] = "google";
    CHECK_FALSE(read_token(other).has_value());
}

TEST_CASE("A refusal is told with its status and the server's words on one line") {
    const auto refused = read_token(answer("Could not fetch URI\n/computeMetadata\tx", 500));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().why == "the metadata server answered 500: Could not fetch URI /computeMetadata x");
    CHECK(read_token(answer(std::string(5000, 'x'), 404)).error().why.size() < 200);
    CHECK(read_token(answer("", 301)).error().why == "the metadata server answered 301");
}

TEST_CASE("A refusal that holds a token is not quoted") {
    CHECK(read_token(answer(token_json("ya29.secret"), 500)).error().why == "the metadata server answered 500");
}
