#pragma once

#include "token/credential_file.hpp"
#include "token/token_requests.hpp"
#include "token/token_source.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace supervisor {

/// What the sources below need from outside. `later` runs a function from the loop.
struct TokenServices {
    HttpGet get;
    std::function<void(std::function<void()>)> later;
    Clock clock;
    Route route;
};

/// A service account's key: signs an assertion for each token, and exchanges it.
class ServiceAccountTokenSource final : public TokenSource {
public:
    ServiceAccountTokenSource(ServiceAccountKey account, std::string scope, TokenServices services);

    void fetch(Done done) override;
    [[nodiscard]] std::string name() const override { return account_.email; }

private:
    ServiceAccountKey account_;
    std::string scope_;
    TokenServices services_;
};

/// A person's login: exchanges the refresh token for each token.
class AuthorizedUserTokenSource final : public TokenSource {
public:
    AuthorizedUserTokenSource(AuthorizedUser user, TokenServices services);

    void fetch(Done done) override;
    [[nodiscard]] std::string name() const override { return "the login of client " + user_.client_id; }

private:
    AuthorizedUser user_;
    TokenServices services_;
};

/// A workload outside of Google: exchanges the token of its own platform, which is read or asked for anew each time.
class ExternalAccountTokenSource final : public TokenSource {
public:
    ExternalAccountTokenSource(ExternalAccount account, std::string scope, TokenServices services);

    void fetch(Done done) override;
    [[nodiscard]] std::string name() const override { return account_.audience; }

private:
    void ask_platform(const Done& done);
    void exchange(std::string_view contents, const std::string& from, const Done& done);

    ExternalAccount account_;
    std::string scope_;
    TokenServices services_;
};

/// Asks `source` for a token, and IAM with that one for a token of another service account.
class ImpersonatedTokenSource final : public TokenSource {
public:
    ImpersonatedTokenSource(std::unique_ptr<TokenSource> source, Impersonation impersonation, std::string scope,
                            TokenServices services);

    void fetch(Done done) override;
    [[nodiscard]] std::string name() const override;

private:
    void impersonate(const Secret& token, const Done& done);

    std::unique_ptr<TokenSource> source_;
    Impersonation impersonation_;
    std::string scope_;
    TokenServices services_;
};

/// The source for what a credential file holds; `scope` is that of the tokens that it gives.
std::unique_ptr<TokenSource> make_token_source(Credential credential, const std::string& scope,
                                               const TokenServices& services);

}  // namespace supervisor
