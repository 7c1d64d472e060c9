#pragma once

#include "http_client.hpp"
#include "token.hpp"
#include "token_source.hpp"

#include <string>
#include <string_view>

namespace supervisor {

/// The one request that a token takes. `host` is `host[:port]`; `scope` is percent-encoded into the query, as
/// Google's own clients do. The header is the metadata server's guard against requests made by accident, and
/// its limits are those of the contract: connect 2 s, whole 5 s, 64 KiB.
HttpRequest token_request(std::string_view host, std::string_view scope);

/// Reads the answer to token_request(). Good is only: status 200, the answer's own `Metadata-Flavor: Google`,
/// a JSON object whose `access_token` is 1 to 8192 characters of visible ASCII and whose `expires_in` is an
/// integer from 1 to 86400. The fault of anything else never repeats a body that may hold a token.
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
