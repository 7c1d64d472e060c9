#include "token/credential_token_sources.hpp"

#include "token/assertion.hpp"
#include "token/secret_file.hpp"
#include "token/token_text.hpp"

#include <utility>

namespace supervisor {

ServiceAccountTokenSource::ServiceAccountTokenSource(ServiceAccountKey account, std::string scope,
                                                     TokenServices services)
    : account_(std::move(account)), scope_(std::move(scope)), services_(std::move(services)) {}

void ServiceAccountTokenSource::fetch(Done done) {
    const auto assertion = signed_assertion(account_, scope_, services_.clock());
    if (!assertion) {
        services_.later([done = std::move(done), why = assertion.error()] { done({why}); });
        return;
    }
    const Endpoint endpoint{account_.token_uri, services_.route,
                            "the key may have been deleted, or its account disabled"};
    services_.get(assertion_request(endpoint, *assertion),
                  [this, endpoint, done = std::move(done)](const Result<HttpAnswer>& answer) {
                      done(read_exchange(endpoint, answer, services_.clock()));
                  });
}

AuthorizedUserTokenSource::AuthorizedUserTokenSource(AuthorizedUser user, TokenServices services)
    : user_(std::move(user)), services_(std::move(services)) {}

void AuthorizedUserTokenSource::fetch(Done done) {
    const Endpoint endpoint{
        std::string{google_token_url}, services_.route,
        "the refresh token was revoked, has expired or needs a new login: run gcloud auth application-default login"};
    services_.get(refresh_request(endpoint, user_),
                  [this, endpoint, done = std::move(done)](const Result<HttpAnswer>& answer) {
                      done(read_exchange(endpoint, answer, services_.clock()));
                  });
}

ExternalAccountTokenSource::ExternalAccountTokenSource(ExternalAccount account, std::string scope,
                                                       TokenServices services)
    : account_(std::move(account)), scope_(std::move(scope)), services_(std::move(services)) {}

void ExternalAccountTokenSource::fetch(Done done) {
    if (!account_.url.empty()) {
        ask_platform(done);
        return;
    }
    services_.later([this, done = std::move(done)] {
        if (const auto contents = read_secret_file(account_.file)) {
            exchange(contents->reveal(), account_.file, done);
        } else {
            done({Fault{"the platform's token in " + account_.file + ": " + contents.error().why}});
        }
    });
}

void ExternalAccountTokenSource::ask_platform(const Done& done) {
    HttpRequest request{.url = account_.url, .route = services_.route};
    for (const auto& line : account_.headers) {
        request.headers.push_back(line.reveal());
    }
    services_.get(std::move(request), [this, done](const Result<HttpAnswer>& answer) {
        if (!answer) {
            done({Fault{"the platform's token at " + account_.url + ": " + answer.error().why}});
        } else if (answer->status != 200) {
            done({Fault{"the platform's token at " + account_.url + ": answered " + std::to_string(answer->status) +
                        quote_refusal(answer->body)},
                  answer->retry_after});
        } else {
            exchange(answer->body, account_.url, done);
        }
    });
}

void ExternalAccountTokenSource::exchange(std::string_view contents, const std::string& from, const Done& done) {
    const auto token = platform_token(contents, account_.json_field);
    if (!token) {
        done({Fault{"the platform's token in " + from + ": " + token.error().why}});
        return;
    }
    const Endpoint endpoint{account_.token_url, services_.route, {}, /*grant_changes=*/true};
    services_.get(external_request(endpoint, account_, scope_, *token),
                  [this, endpoint, done](const Result<HttpAnswer>& answer) {
                      done(read_exchange(endpoint, answer, services_.clock()));
                  });
}

ImpersonatedTokenSource::ImpersonatedTokenSource(std::unique_ptr<TokenSource> source, Impersonation impersonation,
                                                 std::string scope, TokenServices services)
    : source_(std::move(source)),
      impersonation_(std::move(impersonation)),
      scope_(std::move(scope)),
      services_(std::move(services)) {}

void ImpersonatedTokenSource::fetch(Done done) {
    source_->fetch([this, done = std::move(done)](TokenAnswer answer) {
        if (answer.token) {
            impersonate(answer.token->text, done);
            return;
        }
        done(std::move(answer));
    });
}

void ImpersonatedTokenSource::impersonate(const Secret& token, const Done& done) {
    const Endpoint endpoint{impersonation_.url, services_.route, {}};
    services_.get(impersonation_request(endpoint, impersonation_, scope_, token),
                  [this, endpoint, done](const Result<HttpAnswer>& answer) {
                      done(read_impersonation(endpoint, answer, impersonation_.lifetime, services_.clock()));
                  });
}

std::string ImpersonatedTokenSource::name() const { return source_->name() + " by impersonation"; }

std::unique_ptr<TokenSource> make_token_source(Credential credential, const std::string& scope,
                                               const TokenServices& services) {
    const auto own_scope = credential.impersonation ? std::string{iam_scope} : scope;
    std::unique_ptr<TokenSource> source;
    if (auto* account = std::get_if<ServiceAccountKey>(&credential.identity)) {
        source = std::make_unique<ServiceAccountTokenSource>(std::move(*account), own_scope, services);
    } else if (auto* external = std::get_if<ExternalAccount>(&credential.identity)) {
        source = std::make_unique<ExternalAccountTokenSource>(std::move(*external), own_scope, services);
    } else {
        source = std::make_unique<AuthorizedUserTokenSource>(std::move(std::get<AuthorizedUser>(credential.identity)),
                                                             services);
    }
    if (credential.impersonation) {
        source = std::make_unique<ImpersonatedTokenSource>(std::move(source), std::move(*credential.impersonation),
                                                           scope, services);
    }
    return source;
}

}  // namespace supervisor
