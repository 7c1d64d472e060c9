#pragma once

#include "simulated/world_time.hpp"
#include "token/token.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

namespace simulated {

/// When the metadata server replaces the token in its cache. The times are those of a token of one hour and
/// shrink with shorter ones.
enum class CacheModel {
    new_at_300_s,        ///< Compute Engine: another token from 5 minutes before the end on
    new_at_240_s,        ///< the smallest cache that Google's client libraries know
    stale_while_refresh  ///< GKE: from 5 minutes to 1 before the end the old one, while it fetches the new one
};

inline std::string to_string(CacheModel model) {
    switch (model) {
        case CacheModel::new_at_300_s: return "new token at 300 s left";
        case CacheModel::new_at_240_s: return "new token at 240 s left";
        case CacheModel::stale_while_refresh: return "stale while refresh";
    }
    return "unknown";
}

class CachingServer {
public:
    /// The first token it gives out has been in its cache for `first_age` already.
    CachingServer(CacheModel model, milliseconds life, milliseconds first_age)
        : model_(model), life_(life), cached_{0, life - first_age, milliseconds{0}} {}

    /// The answer to a request that arrives at `time`; none when it has less than a second to give, which is an
    /// `expires_in` of 0 and no usable answer.
    std::optional<supervisor::Token> answer(milliseconds time) {
        finish_refresh(time);
        const auto left = cached_.end - time;
        if (left <= last_call()) {
            mint(time);
        } else if (left <= scaled(300) && model_ == CacheModel::stale_while_refresh && !refresh_done_) {
            refresh_done_ = time + refresh_takes();
        }
        const auto expires_in = std::chrono::floor<std::chrono::seconds>(cached_.end - time);
        if (expires_in < std::chrono::seconds{1}) {
            return std::nullopt;
        }
        return supervisor::Token{supervisor::Secret{text_of(cached_.number)}, expires_in};
    }

    /// Since when a request would have been answered with another token than `text`.
    [[nodiscard]] milliseconds newer_since(const std::string& text) const {
        if (text != text_of(cached_.number)) {
            return cached_.minted;
        }
        const auto at_last_call = cached_.end - last_call();
        return refresh_done_ ? std::min(*refresh_done_, at_last_call) : at_last_call;
    }

    [[nodiscard]] static std::string text_of(unsigned number) { return "ya29." + std::to_string(number); }
    /// When the newest token expires.
    [[nodiscard]] milliseconds end() const { return cached_.end; }
    [[nodiscard]] unsigned minted() const { return cached_.number; }

private:
    struct Cached {
        unsigned number;
        milliseconds end;
        milliseconds minted;
    };

    /// `seconds` of a token of one hour, for this token.
    [[nodiscard]] milliseconds scaled(milliseconds::rep seconds) const { return life_ * seconds / 3600; }
    [[nodiscard]] milliseconds refresh_takes() const { return std::min(milliseconds{1'000}, scaled(60)); }
    [[nodiscard]] milliseconds last_call() const {
        switch (model_) {
            case CacheModel::new_at_300_s: return scaled(300);
            case CacheModel::new_at_240_s: return scaled(240);
            case CacheModel::stale_while_refresh: break;
        }
        return scaled(60);
    }
    void finish_refresh(milliseconds time) {
        if (refresh_done_ && *refresh_done_ <= time) {
            mint(*refresh_done_);
        }
    }
    void mint(milliseconds time) {
        cached_ = {cached_.number + 1, time + life_, time};
        refresh_done_.reset();
    }

    CacheModel model_;
    milliseconds life_;
    Cached cached_;
    std::optional<milliseconds> refresh_done_{};
};

}  // namespace simulated
