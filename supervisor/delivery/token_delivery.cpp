#include "delivery/token_delivery.hpp"

#include <algorithm>
#include <utility>

namespace supervisor {
namespace {

constexpr milliseconds first_pause{1'000};
constexpr milliseconds longest_pause{30'000};

}  // namespace

TokenDelivery::TokenDelivery(const Settings& settings, const Environment& environment,
                             std::vector<std::string> directories, Listener& listener, Log& log)
    : settings_(settings),
      environment_(environment),
      directories_(std::move(directories)),
      listener_(listener),
      log_(log) {}

void TokenDelivery::sweep() {
    for (const auto& path : sweep_password_directories(directories_)) {
        log_.info("init: removed the password file of a supervisor that was killed", {{"directory", path}});
    }
}

void TokenDelivery::set_newest(const Secret& token, Moment expiry) {
    newest_ = token;
    newest_expiry_ = expiry;
}

void TokenDelivery::hand_over_in_place(Moment now) {
    if (const auto fault = password_file_->replace(*newest_)) {
        const auto pause = failed_ ? std::min(failed_->pause * 2, longest_pause) : first_pause;
        failed_ = FailedHandOver{now + pause, pause};
        last_error_ = fault->why;
        log_.error("rotation: the child keeps the old token: " + fault->why, {{"next_try_ms", pause.count()}});
        listener_.on_delivery_failed();
        return;
    }
    failed_.reset();
    last_error_.clear();
    count_as_delivered({newest_->short_hash(), newest_expiry_});
    log_.info("rotation: fresh token handed over in place", {{"hash", in_use_->hash}});
}

Result<Environment> TokenDelivery::environment_for_child() {
    const auto credentials = this->credentials();
    if (!credentials) {
        return credentials.error();
    }
    auto child = child_environment(settings_, environment_, *credentials);
    if (!std::exchange(warned_, true)) {
        for (const auto& warning : child.warnings) {
            log_.warning("child: " + warning);
        }
    }
    return std::move(child.variables);
}

Result<Credentials> TokenDelivery::credentials() {
    if (!settings_.use_token) {
        return Credentials{};
    }
    next_in_use_ = InUse{newest_->short_hash(), newest_expiry_};
    if (settings_.rotation != RotationMode::in_place) {
        return Credentials{&*newest_, {}};
    }
    auto file = PasswordFile::create(directories_, *newest_);
    if (!file) {
        return file.error();
    }
    password_file_.emplace(std::move(*file));
    return Credentials{nullptr, password_file_->path()};
}

void TokenDelivery::child_serves() {
    if (next_in_use_) {
        count_as_delivered(*std::exchange(next_in_use_, std::nullopt));
    }
}

void TokenDelivery::count_as_delivered(InUse token) {
    const bool is_rotation = in_use_ && in_use_->hash != token.hash;
    in_use_ = std::move(token);
    if (is_rotation) {
        ++rotations_;
        listener_.on_rotated();
    }
}

void TokenDelivery::tick(Moment now) {
    if (failed_) {
        if (reached(failed_->next_try, now)) {
            hand_over_in_place(now);
        }
    } else if (password_file_ && !password_file_->is_there()) {
        log_.warning("rotation: the password file was removed, writing it again", {{"path", password_file_->path()}});
        hand_over_in_place(now);
    }
}

std::optional<milliseconds> TokenDelivery::sleep(Moment now) const {
    return failed_ ? std::optional{std::max(milliseconds{0}, remaining(failed_->next_try, now))} : std::nullopt;
}

}  // namespace supervisor
