#pragma once

#include "http/http_client.hpp"
#include "support/property.hpp"
#include "token/metadata_token_source.hpp"
#include "token/refresh_schedule.hpp"

#include <nlohmann/json.hpp>

namespace supervisor::fuzz {

inline bool is_visible_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

/// Whether the text shows a token, as far as one can be recognised in the answer.
inline bool shows_token(std::string_view text, const HttpAnswer& answer) {
    const auto json = nlohmann::json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
    const auto token = json.is_object() ? json.find("access_token") : json.end();
    // A short one may be in the text by chance.
    return token != json.end() && token->is_string() && token->get_ref<const std::string&>().size() >= 12 &&
           text.find(token->get_ref<const std::string&>()) != std::string_view::npos;
}

/// Gives the schedule what came of the answer, as TokenRefresher does, and looks at what it makes of it.
inline void require_schedule(const HttpAnswer& answer, const Result<Token>& token) {
    const Moment now{milliseconds{1'700'000'000'000}, milliseconds{1'000'000}};
    RefreshSchedule schedule{std::chrono::minutes{55}, now};
    schedule.sent(now);
    if (token) {
        require(schedule.answered(true, token->expires_in, now, 0.5) == Freshness::fresh, "a first token is fresh");
        require(remaining(schedule.expiry(), now) == token->expires_in, "a token lives as long as the answer says");
    } else {
        const auto pause = schedule.failed(now, 0.5, answer.retry_after);
        require(pause <= RefreshSchedule::longest_retry_after, "no answer delays the next request for long");
    }
    require(remaining(schedule.next_request(), now) > milliseconds{0}, "the next request is not sent at once");
    require(!token || remaining(schedule.next_request(), now) <=
                          std::max<milliseconds>(token->expires_in, milliseconds{1000}),
            "the next request is not later than the token's end");
}

/// What the contract promises for whatever the metadata server answers.
inline void require_contract(const HttpAnswer& answer) {
    const auto flavor = answer.headers.find("Metadata-Flavor");
    const auto token = read_token(answer);
    if (token) {
        const auto& text = token->text.reveal();
        require(answer.status == 200, "only a 200 brings a token");
        require(flavor != answer.headers.end() && flavor->second == "Google",
                "only the metadata server brings a token");
        require(!text.empty() && text.size() <= 8192 && is_visible_ascii(text),
                "a token is 1 to 8192 characters of visible ASCII");
        require(token->expires_in.count() >= 1 && token->expires_in.count() <= 86400, "a token lives for up to a day");
    } else {
        require(is_one_line(token.error().why), "a refusal is one line");
        require(token.error().why.size() < 250, "a refusal is short");
        require(!shows_token(token.error().why, answer), "a refusal shows no token");
    }
    require_schedule(answer, token);
}

}  // namespace supervisor::fuzz
