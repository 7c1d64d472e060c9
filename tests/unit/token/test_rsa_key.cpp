#include "token/rsa_key.hpp"

#include "token/assertion.hpp"
#include "token/test_keys.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace supervisor;

namespace {

std::string why_not(const std::string& pem) {
    const auto key = RsaKey::parse(Secret{pem});
    return key ? "" : key.error().why;
}

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("The signature is that of openssl, with the key in both forms") {
    for (const auto& pem : {test_keys::rsa, test_keys::rsa_pkcs1}) {
        auto key = RsaKey::parse(Secret{pem});
        REQUIRE(key.has_value());
        const auto signature = key->sign("header.claims");
        REQUIRE(signature.has_value());
        CHECK(base64url(*signature) == test_keys::signature_of_header_claims);
        // RS256 has no randomness in it.
        CHECK(*key->sign("header.claims") == *signature);
        CHECK(*key->sign("header.claimt") != *signature);
    }
}

TEST_CASE("What is no RSA key in PEM is refused by its kind") {
    CHECK(mentions(why_not(test_keys::encrypted_pkcs8), "an encrypted key"));
    CHECK(mentions(why_not(test_keys::encrypted_pkcs1), "an encrypted key"));
    CHECK(mentions(why_not(test_keys::elliptic_curve), "not an RSA key, but of type EC"));
    for (const std::string text : {"", "key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}) {
        CHECK(mentions(why_not(text), "not a private key in PEM"));
    }
    // Cut off, and with a character changed in the middle.
    CHECK(mentions(why_not(test_keys::rsa.substr(0, 800)), "not a private key in PEM"));
    auto changed = test_keys::rsa;
    changed[60] = changed[60] == '!' ? '?' : '!';
    CHECK(mentions(why_not(changed), "not a private key in PEM"));
}
