#pragma once

#include "base/fault.hpp"
#include "base/secret.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace supervisor {

/// A service account with its private key: signs an assertion and exchanges it for a token at `token_uri`.
struct ServiceAccountKey {
    std::string email;
    std::string key_id;  ///< empty when the file has none
    Secret private_key;  ///< PEM
    std::string token_uri;
};

/// A person who has logged in by `gcloud auth application-default login`.
struct AuthorizedUser {
    std::string client_id;
    Secret client_secret;
    Secret refresh_token;
    Secret rapt_token{};  ///< the proof of a renewed login, where an organisation asks for it; mostly empty
};

/// A workload outside of Google: the token that its own platform gives it is exchanged for one of Google's (RFC 8693).
struct ExternalAccount {
    std::string audience;
    std::string subject_token_type;
    std::string token_url;
    std::string file{};                       ///< where the platform's token is, or
    std::string url{};                        ///< where it is asked for,
    std::vector<Secret> headers{};            ///< with these lines
    std::optional<std::string> json_field{};  ///< the field of the token, if what is there is a JSON object
};

using Identity = std::variant<ServiceAccountKey, AuthorizedUser, ExternalAccount>;

/// The service account whose token is asked for with the token of another identity.
struct Impersonation {
    std::string url;  ///< IAM's generateAccessToken of that account
    /// As the request has them; none if the file has none.
    std::optional<std::vector<std::string>> delegates{};
    std::chrono::seconds lifetime{3600};  ///< that is asked for
};

/// What a credential file holds.
struct Credential {
    std::string type;  ///< as the file names it
    Identity identity;
    std::optional<Impersonation> impersonation{};
};

/// Reads the contents of a credential file: JSON whose `type` is service_account, authorized_user, impersonated_service_account
/// with one of these two as its source, or external_account with a file or a URL as its source. The fault names the field that is missing or can't be
/// used, and the type that is not supported. It never repeats a value that may be a secret. Whether the private key is one is for
/// RsaKey to say.
Result<Credential> read_credential(std::string_view contents);

}  // namespace supervisor
