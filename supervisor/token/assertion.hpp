#pragma once

#include "base/clock.hpp"
#include "base/fault.hpp"
#include "base/secret.hpp"
#include "token/credential_file.hpp"

#include <string>
#include <string_view>

namespace supervisor {

/// Base64 for URLs without padding (RFC 4648, 5).
std::string base64url(std::string_view bytes);

/// The part of a service account's assertion that is signed: the header and the claims of a JWT (RFC 7519), valid for an hour from
/// `now` on. The audience is Google's token endpoint whatever `token_uri` says, as in google-auth
/// (google.oauth2.service_account, _make_authorization_grant_assertion).
std::string assertion_to_sign(const ServiceAccountKey& account, std::string_view scope, Moment now);

/// The whole assertion. Whoever has it can get a token with it. The fault is that the private key can't be used.
Result<Secret> signed_assertion(const ServiceAccountKey& account, std::string_view scope, Moment now);

}  // namespace supervisor
