#include "database/database_wait.hpp"

#include "config/duration.hpp"

#include <cstdint>
#include <utility>

namespace supervisor {
namespace {

WaitSchedule schedule_for(const DatabaseWait::Options& options, Moment start) {
    if (options.once) {
        // The one try takes all of the patience.
        return {WaitSchedule::longest_pause, start, WaitSchedule::longest_pause};
    }
    return {options.patience.value_or(milliseconds{0}), start};
}

}  // namespace

DatabaseWait::DatabaseWait(Options options, HttpGet get, Listener& listener, Log& log, Clock clock)
    : options_(std::move(options)),
      get_(std::move(get)),
      listener_(listener),
      log_(log),
      clock_(std::move(clock)),
      started_at_(clock_()),
      schedule_(schedule_for(options_, started_at_)),
      state_(options_.patience ? State::waiting : State::reached) {}

void DatabaseWait::tick(Moment now) {
    if (!waits()) {
        return;
    }
    if (schedule_.due(now)) {
        const auto limit = schedule_.begin_try(now);
        ++tries_;
        get_({.url = "http://" + to_string(options_.database),
              .connect_timeout = limit,
              .timeout = limit,
              .connect_only = true},
             [this](const Result<HttpAnswer>& answer) { on_answer(answer); });
    } else if (schedule_.over(now)) {
        give_up();
    }
}

std::optional<milliseconds> DatabaseWait::sleep(Moment now) const {
    return waits() ? std::optional{schedule_.sleep(now)} : std::nullopt;
}

void DatabaseWait::on_answer(const Result<HttpAnswer>& answer) {
    if (!answer) {
        on_failure(answer.error().why);
        return;
    }
    const auto took = clock_().boot - started_at_.boot;
    const std::vector<Field> fields{
        {"address", to_string(options_.database)}, {"after_ms", took.count()}, {"tries", std::int64_t{tries_}}};
    if (tries_ > 1 || options_.once) {
        log_.info("database: takes connections", fields);
    } else {
        log_.debug("database: takes connections", fields);
    }
    state_ = State::reached;
    last_error_.clear();
    listener_.on_database_reached();
}

void DatabaseWait::on_failure(const std::string& why) {
    schedule_.failed();
    const bool is_first = last_error_.empty();
    last_error_ = why;
    if (options_.once) {
        give_up();
    } else if (is_first) {
        log_.warning("database: " + to_string(options_.database) + " can't be reached yet, so the child waits: " + why,
                     {{"at_most_ms", options_.patience->count()}});
    } else {
        log_.debug("database: still can't be reached: " + why);
    }
}

void DatabaseWait::give_up() {
    state_ = State::unreachable;
    const auto within = options_.once ? "" : " within " + to_string(*options_.patience) + " (--db-wait)";
    log_.error("database: " + to_string(options_.database) + " can't be reached" + within + ": " + last_error_);
    listener_.on_database_unreachable();
}

}  // namespace supervisor
