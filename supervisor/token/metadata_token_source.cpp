#include "token/metadata_token_source.hpp"

#include "http/percent_encoding.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace supervisor {
namespace {

constexpr std::size_t longest_token = 8192;
constexpr std::int64_t longest_life = 86400;
constexpr std::size_t longest_quote = 120;
constexpr auto flavor_header = "Metadata-Flavor";

bool is_visible_ascii(char character) { return character > ' ' && character < '\x7f'; }

/// The beginning of a refusal's body, for the log. A 200 is never quoted because its body may hold a token, and a refusal
/// that looks as if it held one is not quoted either.
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
    auto json = nlohmann::json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
        return Fault{"the answer is not a JSON object"};
    }
    const auto text = json.find("access_token");
    if (text == json.end() || !text->is_string()) {
        return Fault{"the answer has no access_token"};
    }
    // Moved, so that the text exists once from here on and is wiped whichever way this function ends.
    Secret token{std::move(text->get_ref<std::string&>())};
    const auto& characters = token.reveal();
    if (characters.empty() || characters.size() > longest_token) {
        return Fault{"access_token is " + std::to_string(characters.size()) + " characters long, allowed is 1 to " +
                     std::to_string(longest_token)};
    }
    if (!std::all_of(characters.begin(), characters.end(), is_visible_ascii)) {
        return Fault{"access_token holds a character that is not visible ASCII"};
    }
    const auto life = json.find("expires_in");
    if (life == json.end() || !life->is_number_integer()) {
        return Fault{"expires_in is missing or not an integer"};
    }
    // The JSON number itself is compared, because a conversion could wrap a number beyond 64 bits into the range.
    if (*life < 1 || *life > longest_life) {
        return Fault{"expires_in is " + life->dump() + ", allowed is 1 to " + std::to_string(longest_life)};
    }
    return Token{std::move(token), std::chrono::seconds{life->get<std::int64_t>()}};
}

MetadataTokenSource::MetadataTokenSource(std::string host, std::string scope, HttpGet get)
    : host_(std::move(host)), scope_(std::move(scope)), get_(std::move(get)) {}

void MetadataTokenSource::fetch(Done done) {
    get_(token_request(host_, scope_), [done = std::move(done)](const Result<HttpAnswer>& answer) {
        done(answer ? TokenAnswer{read_token(*answer), answer->retry_after} : TokenAnswer{answer.error()});
    });
}

}  // namespace supervisor
