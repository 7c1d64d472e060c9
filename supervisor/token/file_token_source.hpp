#pragma once

#include "token/credential_token_sources.hpp"

#include <memory>
#include <optional>
#include <string>

namespace supervisor {

/// Reads a credential file, and checks that its private key, if it has one, is an RSA key. The fault names the field, if it is one.
Result<Credential> load_credential(const std::string& path);

/// A credential file as a source of tokens. The file is read for each token: a key or a login that was renewed there counts from the
/// next try on, and between two tokens no key is in our memory.
class FileTokenSource final : public TokenSource {
public:
    FileTokenSource(std::string path, std::string scope, TokenServices services);

    void fetch(Done done) override;
    [[nodiscard]] std::string name() const override { return path_; }

private:
    std::string path_;
    std::string scope_;
    TokenServices services_;
    std::unique_ptr<TokenSource> source_{};  ///< what the file held at the last request
};

}  // namespace supervisor
