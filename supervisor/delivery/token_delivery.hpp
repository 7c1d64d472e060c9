#pragma once

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/secret.hpp"
#include "config/settings.hpp"
#include "delivery/child_environment.hpp"
#include "delivery/password_file.hpp"

#include <optional>
#include <string>
#include <vector>

namespace supervisor {

/// Brings the newest token to the child: in the environment of the next child, or, in place, into the password file
/// that the running child reads. It knows which token the child works with, and tries a hand-over that failed again.
///
/// Like TokenRefresher it has no timer of its own.
class TokenDelivery {
public:
    /// The token that the child works with, as far as it may be shown.
    struct InUse {
        std::string hash;
        Moment expiry;
    };

    /// Who is told what becomes of a fresh token.
    class Listener {
    public:
        /// A token that differs from the one before has reached a child.
        virtual void on_rotated() = 0;
        /// It has not reached the password file, and the child keeps the old one. Reported for each try.
        virtual void on_delivery_failed() = 0;

    protected:
        ~Listener() = default;
    };

    /// `directories` are tried in their order for the password file. All arguments by reference must outlive this
    /// object.
    TokenDelivery(const Settings& settings, const Environment& environment, std::vector<std::string> directories,
                  Listener& listener, Log& log);
    TokenDelivery(const TokenDelivery&) = delete;
    TokenDelivery& operator=(const TokenDelivery&) = delete;

    /// Removes the password files of supervisors that were killed; see sweep_password_directories().
    void sweep();
    /// From now on `token` is the newest one. Nothing is handed over yet.
    void set_newest(const Secret& token, Moment expiry);
    /// Puts the newest token into the password file of the running child, which logs in with it from then on. If that
    /// fails, the child keeps the old token, and tick() tries again after 1, 2, 4 ... 30 s.
    void hand_over_in_place(Moment now);
    /// The environment of the next child, with the newest token in the form that the rotation mode asks for. That token
    /// is in use from child_serves() on.
    Result<Environment> environment_for_child();
    /// The child serves for which the last environment was made.
    void child_serves();

    /// Tries a failed hand-over again when that is due, and writes a password file that somebody has removed again.
    void tick(Moment now);
    /// How long tick() may wait at most, never negative; none when nothing waits to be tried again.
    [[nodiscard]] std::optional<milliseconds> sleep(Moment now) const;

    [[nodiscard]] const std::optional<InUse>& in_use() const { return in_use_; }
    /// How many tokens have reached a child, not counting the first one.
    [[nodiscard]] unsigned rotations() const { return rotations_; }
    /// Why the last hand-over failed; empty when it succeeded.
    [[nodiscard]] const std::string& last_error() const { return last_error_; }

private:
    /// A token that was fetched and did not reach the password file.
    struct FailedHandOver {
        Moment next_try;
        milliseconds pause;
    };

    Result<Credentials> credentials();
    void count_as_delivered(InUse token);

    const Settings& settings_;
    const Environment& environment_;
    std::vector<std::string> directories_;
    Listener& listener_;
    Log& log_;
    std::optional<Secret> newest_{};
    Moment newest_expiry_{};
    std::optional<InUse> in_use_{};
    std::optional<InUse> next_in_use_{};  ///< the token of the last environment
    std::optional<PasswordFile> password_file_{};
    std::optional<FailedHandOver> failed_{};
    std::string last_error_{};
    unsigned rotations_ = 0;
    bool warned_ = false;  ///< the warnings about the user's variables were logged, with the first child
};

}  // namespace supervisor
