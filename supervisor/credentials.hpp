#pragma once

#include "base/environment.hpp"
#include "base/fault.hpp"
#include "config/settings.hpp"
#include "http/route.hpp"
#include "token/credential_token_sources.hpp"
#include "token/token_source.hpp"

#include <memory>

namespace supervisor {

/// Looks once at what the source of tokens needs, before anything is started: that the credential file can be used, and, if
/// requests go by HTTPS, that there are authorities. Returns the route of these requests. The fault is for the user, and names the
/// file and the field.
Result<Route> prepare_credentials(const Settings& settings, const Environment& environment);

/// The source that the settings ask for: a credential file or the metadata server, and on top of either the account to impersonate.
std::unique_ptr<TokenSource> choose_token_source(const Settings& settings, const TokenServices& services);

}  // namespace supervisor
