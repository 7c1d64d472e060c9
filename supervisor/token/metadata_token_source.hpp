#pragma once

#include "http/http_client.hpp"
#include "token/token.hpp"
#include "token/token_source.hpp"

#include <string>
#include <string_view>

namespace supervisor {

/// The one request that a token takes. `host` is `host[:port]` with an IPv6 address in brackets; `scope` is percent-encoded
/// into the query, as Google's own clients do. The header is the metadata server's guard against requests that are made by
/// accident. The limits are 2 s to connect, 5 s for the whole request, and 64 KiB for the body.
HttpRequest token_request(std::string_view host, std::string_view scope);

/// Reads the answer to token_request(). Accepts only status 200 with the answer's own header `Metadata-Flavor: Google` and
/// a JSON object whose `access_token` is 1 to 8192 characters of visible ASCII and whose `expires_in` is an integer from 1
/// to 86400. The fault for anything else never repeats a body that may hold a token. The token's text is moved out of the
/// parsed answer, not copied; the JSON parser's own buffer of the current word can't be wiped, for which see Secret.
Result<Token> read_token(const HttpAnswer& answer);

/// The metadata server as a source of tokens: one GET for each token, with no request before it.
class MetadataTokenSource final : public TokenSource {
public:
    MetadataTokenSource(std::string host, std::string scope, HttpGet get);

    void fetch(Done done) override;
    [[nodiscard]] std::string name() const override { return host_; }

private:
    std::string host_;
    std::string scope_;
    HttpGet get_;
};

}  // namespace supervisor
