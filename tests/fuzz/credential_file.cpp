// Credential files, up to the private key and its signature: token/credential_file and token/rsa_key. The same bytes are also
// read as what another platform gives out: token/secret_file.
#include "token/credential_file.hpp"
#include "support/property.hpp"
#include "token/rsa_key.hpp"
#include "token/secret_file.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <variant>

using namespace supervisor;

namespace {

/// The secrets of the corpus begin with it, and no text of ours has it.
constexpr std::string_view marker = "SECRET-";

void require_https(const std::string& url) {
    fuzz::require(url.starts_with("https://") && fuzz::is_one_line(url), "a secret is sent by https alone");
}

/// A key that is accepted signs, and a refusal shows nothing of it.
void try_key(const Secret& pem) {
    auto key = RsaKey::parse(pem);
    if (!key) {
        fuzz::require(fuzz::is_one_line(key.error().why), "the refusal of a key is one line");
        fuzz::require(key.error().why.find(marker) == std::string::npos, "the refusal of a key shows no secret");
        return;
    }
    const auto signature = key->sign("text");
    fuzz::require(!signature || signature->size() >= 256, "a signature is that of a key of 2048 bits at least");
}

void check(const Identity& identity) {
    if (const auto* account = std::get_if<ServiceAccountKey>(&identity)) {
        fuzz::require(!account->email.empty(), "a service account has a name");
        require_https(account->token_uri);
        try_key(account->private_key);
    } else if (const auto* user = std::get_if<AuthorizedUser>(&identity)) {
        fuzz::require(!user->client_id.empty(), "a login has a client");
        fuzz::require(!user->client_secret.empty() && !user->refresh_token.empty(), "a login has its secrets");
    } else {
        const auto& external = std::get<ExternalAccount>(identity);
        require_https(external.token_url);
        fuzz::require(external.file.empty() != external.url.empty(), "a workload's token is in one place");
        for (const auto& header : external.headers) {
            fuzz::require(fuzz::is_one_line(header.reveal()), "a header is one line");
        }
    }
}

/// Whether the text holds the marker where a fault may repeat it: in a name, a type, a URL or another field that is no secret.
bool is_elsewhere(const std::string& contents) {
    auto json = nlohmann::json::parse(contents, nullptr, false);
    for (auto* object :
         {&json, json.is_object() && json.contains("source_credentials") ? &json["source_credentials"] : &json}) {
        if (!object->is_object()) {
            continue;
        }
        for (const char* name : {"private_key", "client_secret", "refresh_token", "rapt_token"}) {
            object->erase(name);
        }
    }
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).find(marker) != std::string::npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto contents = fuzz::as_text(data, size);
    const auto credential = read_credential(contents);
    if (credential) {
        if (credential->impersonation) {
            require_https(credential->impersonation->url);
            const auto life = credential->impersonation->lifetime.count();
            fuzz::require(life >= 600 && life <= 43200, "the lifetime is one that IAM gives");
        }
        check(credential->identity);
    } else {
        fuzz::require(fuzz::is_one_line(credential.error().why), "a refusal is one line");
        fuzz::require(credential.error().why.find(marker) == std::string::npos || is_elsewhere(std::string{contents}),
                      "a refusal shows no secret");
    }
    const auto token = platform_token(contents, "access_token");
    fuzz::require(!token || !token->empty(), "a token is not empty");
    fuzz::require(token || fuzz::is_one_line(token.error().why), "a refusal is one line");
    return 0;
}
