#include "token/token_requests.hpp"

#include "base/printable.hpp"
#include "http/percent_encoding.hpp"
#include "token/token_text.hpp"

#include <nlohmann/json.hpp>
#include <time.h>

#include <array>
#include <ctime>

namespace supervisor {
namespace {

using Json = nlohmann::json;
using std::chrono::seconds;

/// The longest that RefreshSchedule waits for (longest_retry_after).
constexpr seconds pause_after_refusal{300};
constexpr auto date_header = "Date";
// Google's own words, which are longer than those of a server that is down.
constexpr std::size_t longest_words = 300;

HttpRequest post(const Endpoint& endpoint, std::string body, const std::string& content_type) {
    HttpRequest request{.url = endpoint.url};
    request.headers = {"Content-Type: " + content_type};
    request.answer_headers = {date_header};
    request.body = std::move(body);
    request.route = endpoint.route;
    request.connect_timeout = seconds{10};
    request.timeout = seconds{20};
    return request;
}

/// `name=value&...`, for pairs of which the values may be secrets.
std::string form(const std::vector<std::pair<std::string, std::string_view>>& fields) {
    std::size_t size = 0;
    for (const auto& [name, value] : fields) {
        size += name.size() + 3 * value.size() + 2;
    }
    std::string text;
    text.reserve(size);
    for (const auto& [name, value] : fields) {
        auto encoded = percent_encoded(value);
        text.append(text.empty() ? "" : "&").append(name).append("=").append(encoded);
        wipe(encoded);
    }
    return text;
}

std::string host_of(const std::string& url) {
    const auto start = url.find("://") + 3;
    return url.substr(start, url.find('/', start) - start);
}

std::string utc(Moment now) {
    const auto wall = static_cast<std::time_t>(std::chrono::floor<seconds>(now.wall).count());
    std::tm parts{};
    ::gmtime_r(&wall, &parts);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return text.data();
}

/// There was no answer: says by which way the server was not reached.
TokenAnswer not_reached(const Endpoint& endpoint, const Fault& fault) {
    std::string why = host_of(endpoint.url) + " can't be reached: " + fault.why + " (";
    if (!endpoint.route.proxy.empty()) {
        why += "proxy " + proxy_address(endpoint.route) + " of " + endpoint.route.proxy_variable + ", ";
    }
    return {Fault{why + "authorities of " + endpoint.route.authorities + ")"}};
}

/// The text of a field; nothing if there is none, or if `object` is none.
std::string text_of(const Json& object, const char* name) {
    const auto field = object.find(name);
    return field != object.end() && field->is_string() ? field->get<std::string>() : std::string{};
}

/// What google-auth takes as temporary, whatever the status is (google.oauth2._client, _can_retry).
bool is_temporary(const std::string& word) {
    return word == "internal_failure" || word == "server_error" || word == "temporarily_unavailable";
}

/// A refusal of the token endpoint (RFC 6749, 5.2).
TokenAnswer refused(const Endpoint& endpoint, const HttpAnswer& answer, const Json& json, Moment now) {
    std::string why = host_of(endpoint.url) + " answered " + std::to_string(answer.status);
    const auto error = text_of(json, "error");
    const auto description = text_of(json, "error_description");
    const bool is_lasting = answer.status >= 400 && answer.status < 500 && answer.status != 408 &&
                            answer.status != 429 && !is_temporary(error) && !is_temporary(description) &&
                            !endpoint.grant_changes;
    if (error.empty()) {
        why += quote_refusal(answer.body);
    } else {
        why += quote_refusal(error + (description.empty() ? "" : ": " + description), longest_words);
        const bool is_about_time = description.find("iat") != std::string::npos;
        if (error == "invalid_grant" && is_about_time) {
            const auto date = answer.headers.find(date_header);
            why += "; this machine's clock is at " + utc(now);
            why += date != answer.headers.end() ? ", the server's at " + printable(date->second) : "";
        } else if (error == "invalid_grant" && !endpoint.on_invalid_grant.empty()) {
            why += "; " + endpoint.on_invalid_grant;
        }
    }
    return {Fault{why}, is_lasting
                            ? std::optional{std::max(pause_after_refusal, answer.retry_after.value_or(seconds{}))}
                            : answer.retry_after};
}

/// The moment that RFC 3339 text in UTC names, such as 2026-11-26T15:00:00Z.
std::optional<seconds> parse_time(const std::string& text) {
    std::tm parts{};
    const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest != nullptr && *rest == '.') {
        rest += 1 + std::string_view{rest + 1}.find_first_not_of("0123456789");
    }
    if (rest == nullptr || std::string_view{rest} != "Z") {
        return std::nullopt;
    }
    return seconds{::timegm(&parts)};
}

Result<Token> read_iam_token(Json& json, seconds lifetime, Moment now) {
    auto text = take_token(json, "accessToken");
    if (!text) {
        return text.error();
    }
    const auto expiry = parse_time(text_of(json, "expireTime"));
    if (!expiry) {
        return Fault{"expireTime is missing or not a time"};
    }
    const auto life = std::chrono::floor<seconds>(*expiry - now.wall);
    if (life < seconds{1}) {
        return Fault{"the token's expireTime is past: this machine's clock is at " + utc(now)};
    }
    // More than was asked for means that our clock is slow, and the token does not live longer for that.
    return Token{std::move(*text), std::min(life, lifetime)};
}

}  // namespace

std::string impersonation_url(std::string_view email) {
    return "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + std::string{email} +
           ":generateAccessToken";
}

HttpRequest assertion_request(const Endpoint& endpoint, const Secret& assertion) {
    return post(
        endpoint,
        form({{"assertion", assertion.reveal()}, {"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"}}),
        "application/x-www-form-urlencoded");
}

HttpRequest refresh_request(const Endpoint& endpoint, const AuthorizedUser& user) {
    std::vector<std::pair<std::string, std::string_view>> fields{{"grant_type", "refresh_token"},
                                                                 {"client_id", user.client_id},
                                                                 {"client_secret", user.client_secret.reveal()},
                                                                 {"refresh_token", user.refresh_token.reveal()}};
    if (!user.rapt_token.empty()) {
        fields.emplace_back("rapt", user.rapt_token.reveal());
    }
    return post(endpoint, form(fields), "application/x-www-form-urlencoded");
}

HttpRequest external_request(const Endpoint& endpoint, const ExternalAccount& account, std::string_view scope,
                             const Secret& subject_token) {
    return post(endpoint,
                form({{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"},
                      {"audience", account.audience},
                      {"scope", scope},
                      {"requested_token_type", "urn:ietf:params:oauth:token-type:access_token"},
                      {"subject_token", subject_token.reveal()},
                      {"subject_token_type", account.subject_token_type}}),
                "application/x-www-form-urlencoded");
}

HttpRequest impersonation_request(const Endpoint& endpoint, const Impersonation& impersonation, std::string_view scope,
                                  const Secret& token) {
    Json body{{"delegates", nullptr},
              {"scope", Json::array({scope})},
              {"lifetime", std::to_string(impersonation.lifetime.count()) + "s"}};
    if (impersonation.delegates) {
        body["delegates"] = *impersonation.delegates;
    }
    auto request = post(endpoint, body.dump(), "application/json");
    std::string authorization;
    authorization.reserve(token.reveal().size() + 24);
    authorization.append("Authorization: Bearer ").append(token.reveal());
    request.headers.push_back(std::move(authorization));
    return request;
}

TokenAnswer read_exchange(const Endpoint& endpoint, const Result<HttpAnswer>& answer, Moment now) {
    if (!answer) {
        return not_reached(endpoint, answer.error());
    }
    auto json = Json::parse(answer->body, nullptr, /*allow_exceptions=*/false);
    if (answer->status != 200) {
        return refused(endpoint, *answer, json, now);
    }
    const auto from = host_of(endpoint.url) + ": ";
    if (!json.is_object()) {
        return {Fault{from + "the answer is not a JSON object"}};
    }
    auto text = take_token(json, "access_token");
    if (!text) {
        return {Fault{from + text.error().why}};
    }
    const auto life = read_expires_in(json);
    if (!life) {
        return {Fault{from + life.error().why}};
    }
    return {Token{std::move(*text), *life}};
}

TokenAnswer read_impersonation(const Endpoint& endpoint, const Result<HttpAnswer>& answer, seconds lifetime,
                               Moment now) {
    if (!answer) {
        return not_reached(endpoint, answer.error());
    }
    auto json = Json::parse(answer->body, nullptr, /*allow_exceptions=*/false);
    const auto host = host_of(endpoint.url);
    if (answer->status != 200) {
        const auto message = json.contains("error") ? text_of(json["error"], "message") : std::string{};
        std::string why = host + " answered " + std::to_string(answer->status) +
                          (message.empty() ? quote_refusal(answer->body) : quote_refusal(message, longest_words));
        if (answer->status == 403) {
            why +=
                "; the identity that asks needs roles/iam.serviceAccountTokenCreator on the account of " + endpoint.url;
        }
        return {Fault{why}, answer->retry_after};
    }
    if (!json.is_object()) {
        return {Fault{host + ": the answer is not a JSON object"}};
    }
    auto token = read_iam_token(json, lifetime, now);
    return token ? TokenAnswer{std::move(*token)} : TokenAnswer{Fault{host + ": " + token.error().why}};
}

}  // namespace supervisor
