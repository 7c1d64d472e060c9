#include "token/file_token_source.hpp"

#include "token/rsa_key.hpp"
#include "token/secret_file.hpp"

#include <utility>

namespace supervisor {
namespace {

Result<Credential> read_credential_file(const std::string& path) {
    const auto contents = read_secret_file(path);
    return contents ? read_credential(contents->reveal()) : Result<Credential>{contents.error()};
}

}  // namespace

Result<Credential> load_credential(const std::string& path) {
    auto credential = read_credential_file(path);
    if (!credential) {
        return credential;
    }
    if (const auto* account = std::get_if<ServiceAccountKey>(&credential->identity)) {
        if (const auto key = RsaKey::parse(account->private_key); !key) {
            return Fault{"the field private_key is " + key.error().why};
        }
    }
    return credential;
}

FileTokenSource::FileTokenSource(std::string path, std::string scope, TokenServices services)
    : path_(std::move(path)), scope_(std::move(scope)), services_(std::move(services)) {}

void FileTokenSource::fetch(Done done) {
    auto credential = read_credential_file(path_);
    if (!credential) {
        services_.later([done = std::move(done), why = credential.error()] { done({why}); });
        return;
    }
    source_ = make_token_source(std::move(*credential), scope_, services_);
    source_->fetch([this, done = std::move(done)](TokenAnswer answer) {
        // This handler belongs to what it removes, so the caller is told first.
        auto ended = std::move(source_);
        done(std::move(answer));
    });
}

}  // namespace supervisor
