#include "metadata_server.hpp"

#include "percent_encoding.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace supervisor {
namespace {

constexpr std::size_t longest_token = 8192;
constexpr std::int64_t longest_life = 86400;
constexpr std::size_t longest_quote = 120;
constexpr auto flavor_header = "Metadata-Flavor";

bool is_visible_ascii(char character) { return character > ' ' && character < '\x7f'; }

/// The start of an error answer for the log. Only a refusal is quoted, never a 200, whose body may hold a token;
/// and a body that speaks of a token itself is not quoted either.
std::string quote(std::string_view body) {
    if (body.find("access_token") != std::string_view::npos || body.find("ya29.") != std::string_view::npos) {
        return {};
    }
    std::string text{body.substr(0, longest_quote)};
    std::replace_if(text.begin(), text.end(), [](char c) { return !is_visible_ascii(c); }, ' ');
    while (!text.empty() && text.back() == ' ') {
        text.pop_back();
    }
    return text.empty() ? text : ": " + text;
}

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
        return Fault{"the metadata server answered " + std::to_string(answer.status) + quote(answer.body)};
    }
    const auto flavor = answer.headers.find(flavor_header);
    if (flavor == answer.headers.end() || flavor->second != "Google") {
        return Fault{"the answer has no header Metadata-Flavor: Google, so it is not the metadata server's"};
    }
    const auto json = nlohmann::json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
        return Fault{"the answer is not a JSON object"};
    }
    const auto text = json.find("access_token");
    if (text == json.end() || !text->is_string()) {
        return Fault{"the answer has no access_token"};
    }
    const auto& token = text->get_ref<const std::string&>();
    if (token.empty() || token.size() > longest_token) {
        return Fault{"access_token is " + std::to_string(token.size()) + " characters long, allowed is 1 to " +
                     std::to_string(longest_token)};
    }
    if (!std::all_of(token.begin(), token.end(), is_visible_ascii)) {
        return Fault{"access_token holds a character that is not visible ASCII"};
    }
    const auto life = json.find("expires_in");
    if (life == json.end() || !life->is_number_integer()) {
        return Fault{"expires_in is missing or not an integer"};
    }
    // Compared as written: a number beyond 64 bits would wrap into the range.
    if (*life < 1 || *life > longest_life) {
        return Fault{"expires_in is " + life->dump() + ", allowed is 1 to " + std::to_string(longest_life)};
    }
    return Token{Secret{token}, std::chrono::seconds{life->get<std::int64_t>()}};
}

MetadataTokenSource::MetadataTokenSource(std::string host, std::string scope, HttpGet get)
    : host_(std::move(host)), scope_(std::move(scope)), get_(std::move(get)) {}

void MetadataTokenSource::fetch(Done done) {
    get_(token_request(host_, scope_), [done = std::move(done)](const Result<HttpAnswer>& answer) {
        done(answer ? TokenAnswer{read_token(*answer), answer->retry_after} : TokenAnswer{answer.error()});
    });
}

}  // namespace supervisor
