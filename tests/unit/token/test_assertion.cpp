#include "token/assertion.hpp"

#include "token/test_keys.hpp"

#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include <string>

using namespace supervisor;

namespace {

// 2026-11-26T14:00:00.999Z: the fraction is not part of the claims.
constexpr Moment now{milliseconds{1'795'701'600'999}, milliseconds{5}};
const std::string scope = "https://www.googleapis.com/auth/sqlservice.login";

ServiceAccountKey an_account() {
    return {.email = "sa@p.iam.gserviceaccount.com",
            .key_id = "k1",
            .private_key = Secret{test_keys::rsa},
            .token_uri = "https://elsewhere.example/token"};
}

}  // namespace

TEST_CASE("Base64 for URLs is that of RFC 4648 without padding") {
    CHECK(base64url("").empty());
    CHECK(base64url("f") == "Zg");
    CHECK(base64url("fo") == "Zm8");
    CHECK(base64url("foo") == "Zm9v");
    CHECK(base64url("foob") == "Zm9vYg");
    CHECK(base64url("\xfb\xff\xfe") == "-__-");
}

TEST_CASE("The header and the claims are those of google-auth") {
    const auto text = assertion_to_sign(an_account(), scope, now);
    const auto header = nlohmann::json{{"alg", "RS256"}, {"typ", "JWT"}, {"kid", "k1"}};
    const auto claims = nlohmann::json{{"iss", "sa@p.iam.gserviceaccount.com"},
                                       {"aud", "https://oauth2.googleapis.com/token"},
                                       {"scope", scope},
                                       {"iat", 1795701600},
                                       {"exp", 1795705200}};
    CHECK(text == base64url(header.dump()) + "." + base64url(claims.dump()));

    auto without_id = an_account();
    without_id.key_id.clear();
    CHECK(assertion_to_sign(without_id, scope, now).starts_with(base64url(R"({"alg":"RS256","typ":"JWT"})") + "."));
}

TEST_CASE("The assertion ends with the signature of what is before it") {
    const auto assertion = signed_assertion(an_account(), scope, now);
    REQUIRE(assertion.has_value());
    const auto& text = assertion->reveal();
    const auto signed_text = assertion_to_sign(an_account(), scope, now);
    CHECK(text.starts_with(signed_text + "."));
    // 256 bytes.
    CHECK(text.size() == signed_text.size() + 1 + 342);

    auto other = an_account();
    other.private_key = Secret{test_keys::elliptic_curve};
    const auto refused = signed_assertion(other, scope, now);
    REQUIRE(!refused.has_value());
    CHECK(refused.error().why == "the field private_key is not an RSA key, but of type EC");
}
