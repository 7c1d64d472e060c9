#include "token/metadata_token_source.hpp"

#include "http/percent_encoding.hpp"
#include "token/token_text.hpp"

#include <nlohmann/json.hpp>

namespace supervisor {
namespace {

constexpr auto flavor_header = "Metadata-Flavor";

}  // namespace

HttpRequest token_request(std::string_view host, std::string_view scope) {
    HttpRequest request;
    request.url = "http://" + std::string{host} +
                  "/computeMetadata/v1/instance/service-accounts/default/token?scopes=" + percent_encoded(scope);
    request.headers = {"Metadata-Flavor: Google"};
    request.answer_headers = {flavor_header};
    return request;
}

Result<Token> read_token(const HttpAnswer& answer) {
    if (answer.status != 200) {
        return Fault{"the metadata server answered " + std::to_string(answer.status) + quote_refusal(answer.body)};
    }
    const auto flavor = answer.headers.find(flavor_header);
    if (flavor == answer.headers.end() || flavor->second != "Google") {
        return Fault{"the answer has no header Metadata-Flavor: Google, so it is not the metadata server's"};
    }
    auto json = nlohmann::json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
        return Fault{"the answer is not a JSON object"};
    }
    auto text = take_token(json, "access_token");
    if (!text) {
        return text.error();
    }
    const auto life = read_expires_in(json);
    if (!life) {
        return life.error();
    }
    return Token{std::move(*text), *life};
}

MetadataTokenSource::MetadataTokenSource(std::string host, std::string scope, HttpGet get)
    : host_(std::move(host)), scope_(std::move(scope)), get_(std::move(get)) {}

void MetadataTokenSource::fetch(Done done) {
    get_(token_request(host_, scope_), [done = std::move(done)](const Result<HttpAnswer>& answer) {
        done(answer ? TokenAnswer{read_token(*answer), answer->retry_after} : TokenAnswer{answer.error()});
    });
}

}  // namespace supervisor
