#include "child/child.hpp"

#include "base/secret.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

namespace supervisor {

Child::Child(Options options, ProcessCalls& processes, Listener& listener, Log& log, Clock clock)
    : options_(std::move(options)),
      processes_(processes),
      listener_(listener),
      log_(log),
      clock_(std::move(clock)),
      policy_(options_.timeouts) {}

// --- events and queries ---------------------------------------------------------------------------------------------

void Child::start() {
    handle([this] { return policy_.start(); });
}

void Child::replace(std::string why) {
    handle([this, why = std::move(why)] { return policy_.rotate(why, clock_()); });
}

void Child::stop(int signal) {
    handle([this, signal] { return policy_.stop(signal, clock_()); });
}

void Child::forward(int signal) { signal_child(signal); }

void Child::reap() {
    std::optional<int> ended;
    has_children_ = processes_.reap([this, &ended](pid_t pid, int code) {
        if (pid == pid_) {
            // The pid is cleared at once, because the number may belong to another process from here on.
            pid_.reset();
            ended = code;
        } else {
            ++orphans_reaped_;
        }
    });
    if (ended) {
        handle([this, code = *ended] { return policy_.child_exited(code, clock_()); });
    } else if (phase() == Phase::replacing || phase() == Phase::cleaning_up) {
        handle([this] { return policy_.remaining_processes(any_remaining()); });
    }
}

void Child::tick(Moment now) {
    // An exception may have cut off the actions of a stop before the last one, which sets the deadline.
    const bool has_timeout = options_.timeouts.stop_timeout > milliseconds{0};
    if (is_ending() && phase() != Phase::stopped && has_timeout && !deadline_) {
        deadline_ = now.boot + options_.timeouts.stop_timeout;
    }
    if (deadline_ && now.boot >= *deadline_) {
        deadline_.reset();
        handle([this, now] { return policy_.timer_fired(now); });
    }
}

std::optional<milliseconds> Child::sleep(Moment now) const {
    return deadline_ ? std::optional{std::max(milliseconds{0}, *deadline_ - now.boot)} : std::nullopt;
}

bool Child::is_ending() const {
    return phase() == Phase::stopping || phase() == Phase::cleaning_up || phase() == Phase::stopped;
}

// --- what is done about it ------------------------------------------------------------------------------------------

void Child::handle(std::function<Actions()> event) {
    events_.push_back(std::move(event));
    if (handling_) {
        return;
    }
    // The flag is also cleared after an exception, since otherwise no later event would be handled.
    struct Handling {
        explicit Handling(bool& flag) : flag_(flag) { flag_ = true; }
        Handling(const Handling&) = delete;
        Handling& operator=(const Handling&) = delete;
        ~Handling() { flag_ = false; }
        bool& flag_;
    };
    const Handling handling{handling_};
    while (!events_.empty()) {
        const auto next = std::move(events_.front());
        events_.pop_front();
        for (const auto& action : next()) {
            perform(action);
        }
    }
    if (phase() != Phase::running) {
        listener_.on_leaving();
    }
}

void Child::perform(const Action& action) {
    switch (action.kind) {
        case Action::Kind::launch: launch(); break;
        case Action::Kind::signal_child: signal_child(action.signal); break;
        case Action::Kind::kill_group: kill_group(); break;
        case Action::Kind::signal_remaining: signal_remaining(action.signal); break;
        case Action::Kind::signal_new_orphans: signal_orphans(action.signal, /*new_ones_only=*/true); break;
        case Action::Kind::look_for_remaining:
            handle([this] { return policy_.remaining_processes(any_remaining()); });
            break;
        case Action::Kind::arm: deadline_ = clock_().boot + action.delay; break;
        case Action::Kind::disarm: deadline_.reset(); break;
        case Action::Kind::exit: listener_.on_exit(action.code); break;
        case Action::Kind::log: log_.write(action.line); break;
    }
}

void Child::launch() {
    if (options_.port && processes_.port_in_use(*options_.port)) {
        const auto why = "port " + std::to_string(*options_.port) + " is in use by another program";
        if (options_.needs_port) {
            handle([this, why] {
                return policy_.launch_failed(1, "can't start " + options_.command.front() + ": " + why,
                                             /*may_pass=*/true, clock_());
            });
            return;
        }
        log_.warning("child: " + why + ", which may answer the readiness question in place of the child");
    }
    auto environment = listener_.environment_for_child();
    if (!environment) {
        handle([this, why = environment.error().why] {
            return policy_.launch_failed(1, why, /*may_pass=*/false, clock_());
        });
        return;
    }
    const auto pid = processes_.launch(options_.command, *environment);
    for (auto& [name, value] : *environment) {
        wipe(value);
    }
    if (!pid) {
        handle([this, fault = pid.error()] {
            return policy_.launch_failed(fault.exit_code(), fault.why, fault.may_pass(), clock_());
        });
        return;
    }
    pid_ = *pid;
    group_ = ProcessGroup::led_by(*pid);
    started_at_ = clock_();
    handle([this] {
        auto actions = policy_.child_started(*pid_, started_at_);
        listener_.on_started(started_at_);
        return actions;
    });
}

void Child::signal_child(int signal) {
    if (!pid_ || !group_) {
        return;
    }
    const int error =
        options_.single_child ? processes_.signal_process(*pid_, signal) : processes_.signal_group(*group_, signal);
    if (error != 0) {
        log_.debug("child: signal not delivered", {{"signal", std::int64_t{signal}}, {"why", std::strerror(error)}});
    }
}

void Child::kill_group() {
    if (group_) {
        processes_.signal_group(*group_, SIGKILL);
    }
    if (pid_) {
        // It may have moved to a group of its own.
        processes_.signal_process(*pid_, SIGKILL);
    }
}

void Child::kill_all() {
    kill_group();
    for (const pid_t orphan : processes_.children()) {
        processes_.signal_process(orphan, SIGKILL);
    }
}

void Child::signal_remaining(int signal) {
    if (group_) {
        processes_.signal_group(*group_, signal);
    }
    signal_orphans(signal, /*new_ones_only=*/false);
}

void Child::signal_orphans(int signal, bool new_ones_only) {
    if (!has_children_) {
        return;
    }
    for (const pid_t orphan : processes_.children()) {
        const bool is_new = !orphans_signalled_.contains(orphan);
        // CONT follows TERM. An orphan that was adopted between the two has not received its TERM yet.
        if (signal != SIGCONT) {
            orphans_signalled_.insert(orphan);
        }
        const bool is_in_group = group_ && processes_.is_in_group(orphan, *group_);
        if (!is_in_group && (is_new || !new_ones_only)) {
            processes_.signal_process(orphan, signal);
        }
    }
}

bool Child::any_remaining() {
    const bool group_left = group_ && processes_.group_exists(*group_);
    return group_left || (phase() == Phase::cleaning_up && has_children_);
}

}  // namespace supervisor
