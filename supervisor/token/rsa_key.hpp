#pragma once

#include "base/fault.hpp"
#include "base/secret.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace supervisor {

/// A private RSA key. The library wipes it when the object ends.
class RsaKey {
public:
    /// Reads PEM (PKCS #1 or PKCS #8). The fault says what it is instead: encrypted, of another kind, or no key.
    static Result<RsaKey> parse(const Secret& pem);

    RsaKey(RsaKey&& other) noexcept;
    RsaKey& operator=(RsaKey&& other) noexcept;
    ~RsaKey();

    /// The signature of `text` by RS256, which is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3).
    Result<std::string> sign(std::string_view text);

private:
    struct Context;
    explicit RsaKey(std::unique_ptr<Context> context);

    std::unique_ptr<Context> context_;
};

}  // namespace supervisor
