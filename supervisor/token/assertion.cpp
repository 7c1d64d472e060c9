#include "token/assertion.hpp"

#include "token/rsa_key.hpp"

#include <nlohmann/json.hpp>

namespace supervisor {
namespace {

constexpr auto audience = "https://oauth2.googleapis.com/token";
constexpr std::chrono::hours assertion_life{1};

}  // namespace

std::string base64url(std::string_view bytes) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string text;
    text.reserve((4 * bytes.size() + 2) / 3);
    unsigned pending = 0;
    unsigned bits = 0;
    for (const char byte : bytes) {
        pending = pending << 8U | static_cast<unsigned char>(byte);
        for (bits += 8; bits >= 6; bits -= 6) {
            text += digits[pending >> (bits - 6) & 0x3FU];
        }
    }
    if (bits > 0) {
        text += digits[pending << (6 - bits) & 0x3FU];
    }
    return text;
}

std::string assertion_to_sign(const ServiceAccountKey& account, std::string_view scope, Moment now) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(now.wall);
    nlohmann::json header{{"alg", "RS256"}, {"typ", "JWT"}};
    if (!account.key_id.empty()) {
        header["kid"] = account.key_id;
    }
    const nlohmann::json claims{{"iss", account.email},
                                {"aud", audience},
                                {"scope", scope},
                                {"iat", seconds.count()},
                                {"exp", std::chrono::seconds{seconds + assertion_life}.count()}};
    return base64url(header.dump()) + '.' + base64url(claims.dump());
}

Result<Secret> signed_assertion(const ServiceAccountKey& account, std::string_view scope, Moment now) {
    auto key = RsaKey::parse(account.private_key);
    if (!key) {
        return Fault{"the field private_key is " + key.error().why};
    }
    auto text = assertion_to_sign(account, scope, now);
    auto signature = key->sign(text);
    if (!signature) {
        return Fault{"the field private_key: " + signature.error().why};
    }
    // One allocation, because growing would leave copies behind.
    std::string assertion;
    assertion.reserve(text.size() + 2 * signature->size());
    auto encoded = base64url(*signature);
    assertion.append(text).append(1, '.').append(encoded);
    // The rest of an assertion is known to everybody.
    wipe(encoded);
    wipe(*signature);
    return Secret{std::move(assertion)};
}

}  // namespace supervisor
