#include "credentials.hpp"

#include "token/file_token_source.hpp"
#include "token/metadata_token_source.hpp"

#include <string>
#include <utility>

namespace supervisor {

Result<Route> prepare_credentials(const Settings& settings, const Environment& environment) {
    if (!settings.use_token || (!settings.credential_file && !settings.impersonated)) {
        return Route{};
    }
    if (const auto& file = settings.credential_file) {
        if (const auto credential = load_credential(file->path); !credential) {
            return Fault{"the credential file " + file->path + " (" + file->named_by + "): " + credential.error().why};
        }
    }
    return read_route(environment);
}

std::unique_ptr<TokenSource> choose_token_source(const Settings& settings, const TokenServices& services) {
    const auto& account = settings.impersonated;
    const auto scope = account ? std::string{iam_scope} : settings.token_scope;
    std::unique_ptr<TokenSource> source;
    if (settings.credential_file) {
        source = std::make_unique<FileTokenSource>(settings.credential_file->path, scope, services);
    } else {
        source = std::make_unique<MetadataTokenSource>(settings.metadata_host, scope, services.get);
    }
    if (account) {
        Impersonation impersonation{.url = impersonation_url(account->email)};
        if (!account->delegates.empty()) {
            impersonation.delegates = account->delegates;
        }
        source = std::make_unique<ImpersonatedTokenSource>(std::move(source), std::move(impersonation),
                                                           settings.token_scope, services);
    }
    return source;
}

}  // namespace supervisor
