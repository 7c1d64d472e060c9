#pragma once

#include "base/clock.hpp"
#include "http/http_client.hpp"
#include "token/credential_file.hpp"
#include "token/token_source.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace supervisor {

// The requests for a token that go to Google by HTTPS, and what their answers mean. They are those of google-auth 2.62.2
// (google.oauth2._client and google.auth.impersonated_credentials), without its header x-goog-api-client, which only counts
// clients. The limits are 10 s to connect, 20 s for the whole request, and 64 KiB for the body.

/// Where a person's refresh token is exchanged, whatever the file says: google-auth ignores a `token_uri` there.
constexpr std::string_view google_token_url = "https://oauth2.googleapis.com/token";

/// The scope with which a service account asks IAM for another account's token.
constexpr std::string_view iam_scope = "https://www.googleapis.com/auth/iam";

/// IAM's URL for a token of the service account `email`.
std::string impersonation_url(std::string_view email);

/// Who is asked, by which way, and for whom.
struct Endpoint {
    std::string url;
    Route route;
    std::string on_invalid_grant{};  ///< what a person can do about a grant that is refused
    bool grant_changes = false;      ///< by itself, as a token that its platform renews
};

/// Exchanges a service account's assertion.
HttpRequest assertion_request(const Endpoint& endpoint, const Secret& assertion);

/// Exchanges a person's refresh token. There is no scope in it: the token gets those of the login.
HttpRequest refresh_request(const Endpoint& endpoint, const AuthorizedUser& user);

/// Exchanges the token of a workload's own platform.
HttpRequest external_request(const Endpoint& endpoint, const ExternalAccount& account, std::string_view scope,
                             const Secret& subject_token);

/// Asks IAM for a token of another service account, with a token that may do so.
HttpRequest impersonation_request(const Endpoint& endpoint, const Impersonation& impersonation, std::string_view scope,
                                  const Secret& token);

/// Reads the answer to the first three, or the fault that there is none, as a person would want to read it: which server, by which
/// way, what it said and what to do. A refusal that will be the same next time asks for a long pause before the next try.
TokenAnswer read_exchange(const Endpoint& endpoint, const Result<HttpAnswer>& answer, Moment now);

/// Reads IAM's answer. It says when the token ends and not how long it lives, so the life is counted from `now`, and is at most the
/// `lifetime` that was asked for.
TokenAnswer read_impersonation(const Endpoint& endpoint, const Result<HttpAnswer>& answer,
                               std::chrono::seconds lifetime, Moment now);

}  // namespace supervisor
