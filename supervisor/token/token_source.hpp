#pragma once

#include "base/fault.hpp"
#include "token/token.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace supervisor {

/// What a token source answers: a token, or why there is none and how long its server asks to be left alone.
struct TokenAnswer {
    Result<Token> token;
    std::optional<std::chrono::seconds> retry_after{};  ///< RFC 9110 10.2.3
};

/// Where tokens come from. One implementation for each kind of credential.
class TokenSource {
public:
    using Done = std::function<void(TokenAnswer)>;

    TokenSource() = default;
    TokenSource(const TokenSource&) = delete;
    TokenSource& operator=(const TokenSource&) = delete;
    virtual ~TokenSource() = default;

    /// Asks for a token once. `done` is called once, later, from the loop, and never from within fetch(). The source
    /// limits the time that the answer takes. The caller has at most one request in flight.
    virtual void fetch(Done done) = 0;

    /// What is asked, for the log: `169.254.169.254`.
    [[nodiscard]] virtual std::string name() const = 0;
};

}  // namespace supervisor
