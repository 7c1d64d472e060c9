#pragma once

#include "base/address.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "database/wait_schedule.hpp"
#include "http/http_client.hpp"

#include <optional>
#include <string>

namespace supervisor {

/// Waits before the first child until the database's port takes a TCP connection. Nothing is sent: whether the login
/// works is for the child to find out. Cloud Run's documentation of Direct VPC egress warns of connection delays of a
/// minute or more when an instance starts, and Prefect gives up its first connection after 5 s.
///
/// It logs one line when the first try has failed, and one when the wait ends. Like TokenRefresher it has no timer of
/// its own.
class DatabaseWait {
public:
    struct Options {
        Address database;                        ///< the host may also be a name
        std::optional<milliseconds> patience{};  ///< how long to try; none: the database counts as reached at once
        bool once = false;                       ///< a single try of up to 5 s, for --check
    };

    /// Who is told how the wait ends. Only one of the two is called, once.
    class Listener {
    public:
        virtual void on_database_reached() = 0;
        virtual void on_database_unreachable() = 0;

    protected:
        ~Listener() = default;
    };

    /// The wait begins now. All arguments by reference must outlive this object.
    DatabaseWait(Options options, HttpGet get, Listener& listener, Log& log, Clock clock);
    DatabaseWait(const DatabaseWait&) = delete;
    DatabaseWait& operator=(const DatabaseWait&) = delete;

    /// Makes a try when one is due, and reports the end of the patience.
    void tick(Moment now);
    /// How long tick() may wait at most, never negative; none when the wait is over.
    [[nodiscard]] std::optional<milliseconds> sleep(Moment now) const;

    [[nodiscard]] bool reached() const { return state_ == State::reached; }
    [[nodiscard]] bool waits() const { return state_ == State::waiting; }
    /// Why the last try failed; empty before the first answer and once the database was reached.
    [[nodiscard]] const std::string& last_error() const { return last_error_; }

private:
    enum class State { waiting, reached, unreachable };

    void on_answer(const Result<HttpAnswer>& answer);
    void on_failure(const std::string& why);
    void give_up();

    Options options_;
    HttpGet get_;
    Listener& listener_;
    Log& log_;
    Clock clock_;
    Moment started_at_;
    WaitSchedule schedule_;
    State state_;
    unsigned tries_ = 0;
    std::string last_error_{};
};

}  // namespace supervisor
