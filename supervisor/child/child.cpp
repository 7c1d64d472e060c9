#include "child/child.hpp"

#include "base/secret.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

namespace supervisor {
namespace {

// How often the sockets of a rolling rotation are looked at: until the next child listens, and until the old one's
// queue is empty.
constexpr milliseconds listen_poll{50};
constexpr milliseconds queue_poll{10};

}  // namespace

Child::Child(Options options, ProcessCalls& processes, Listener& listener, Log& log, Clock clock)
    : options_(std::move(options)),
      processes_(processes),
      listener_(listener),
      log_(log),
      clock_(std::move(clock)),
      policy_(options_.timeouts, options_.rolling) {}

// --- events and queries ---------------------------------------------------------------------------------------------

void Child::start() {
    handle([this] { return policy_.start(); });
}

void Child::replace(std::string why) {
    handle([this, why = std::move(why)] { return policy_.rotate(why, clock_()); });
}

void Child::allow_rotation(bool allowed) {
    if (allowed != policy_.is_rotation_allowed()) {
        handle([this, allowed] { return policy_.allow_rotation(allowed, clock_()); });
    }
}

void Child::stop(int signal) {
    handle([this, signal] { return policy_.stop(signal, clock_()); });
}

void Child::forward(int signal) { signal_children(Who::both, signal); }

void Child::reap() {
    std::vector<std::pair<Who, int>> ended;
    has_children_ = processes_.reap([this, &ended](pid_t pid, int code) {
        // The pid is cleared at once, because the number may belong to another process from here on.
        if (pid == serving_.pid) {
            serving_.pid.reset();
            ended.emplace_back(Who::serving, code);
        } else if (pid == other_.pid) {
            other_.pid.reset();
            ended.emplace_back(Who::other, code);
        } else {
            ++orphans_reaped_;
        }
    });
    bool serving_ended = false;
    for (const auto& [who, code] : ended) {
        serving_ended = serving_ended || who == Who::serving;
        handle([this, who = who, code = code] { return policy_.child_exited(who, code, clock_()); });
    }
    // The serving child's end has been answered by a look of its own.
    if (!serving_ended && (phase() == Phase::replacing || phase() == Phase::cleaning_up)) {
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
    poll_sockets(now);
}

std::optional<milliseconds> Child::sleep(Moment now) const {
    auto sleep = deadline_ ? std::optional{std::max(milliseconds{0}, *deadline_ - now.boot)} : std::nullopt;
    if (phase() == Phase::overlapping) {
        sleep = std::min(listen_poll, sleep.value_or(listen_poll));
    } else if (phase() == Phase::handing_over) {
        sleep = std::min(queue_poll, sleep.value_or(queue_poll));
    }
    return sleep;
}

void Child::poll_sockets(Moment now) {
    if (phase() == Phase::overlapping && other_.socket && other_.socket->listens()) {
        handle([this, now] { return policy_.next_listens(now); });
    } else if (phase() == Phase::handing_over && other_.socket) {
        handle([this, now] { return policy_.old_queue(other_.socket ? other_.socket->waiting() : 0, now); });
    }
}

bool Child::is_ending() const {
    return phase() == Phase::delaying_stop || phase() == Phase::stopping || phase() == Phase::cleaning_up ||
           phase() == Phase::stopped;
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
    if (!serves(phase())) {
        listener_.on_leaving();
    }
}

void Child::perform(const Action& action) {
    switch (action.kind) {
        case Action::Kind::launch: launch(action.who); break;
        case Action::Kind::look_for_room:
            handle([this] { return policy_.room_for_next(make_room(), clock_()); });
            break;
        case Action::Kind::hand_over: hand_over(); break;
        case Action::Kind::close_socket: for_each(action.who, [](OneChild& child) { child.socket.reset(); }); break;
        case Action::Kind::forget_other: other_ = {}; break;
        case Action::Kind::signal_child: signal_children(action.who, action.signal); break;
        case Action::Kind::kill_group: kill_groups(action.who); break;
        case Action::Kind::signal_remaining: signal_remaining(action.signal); break;
        case Action::Kind::signal_new_orphans: signal_orphans(action.signal, /*new_ones_only=*/true); break;
        case Action::Kind::look_for_remaining:
            handle([this] { return policy_.remaining_processes(any_remaining()); });
            break;
        case Action::Kind::arm: deadline_ = clock_().boot + action.delay; break;
        case Action::Kind::disarm: deadline_.reset(); break;
        case Action::Kind::report_drained: listener_.on_drained(action.delay); break;
        case Action::Kind::report_failed: listener_.on_rotation_failed(); break;
        case Action::Kind::exit: listener_.on_exit(action.code); break;
        case Action::Kind::log: log_.write(action.line); break;
    }
}

template <class Function>
void Child::for_each(Who who, Function act) {
    if (who != Who::other) {
        act(serving_);
    }
    if (who != Who::serving) {
        act(other_);
    }
}

// --- launching ------------------------------------------------------------------------------------------------------

void Child::launch(Who who) {
    auto& child = who == Who::other ? other_ : serving_;
    if (!prepare_port(child)) {
        return;
    }
    auto environment = listener_.environment_for_child();
    if (!environment) {
        handle([this, why = environment.error().why] {
            return policy_.launch_failed(1, why, /*may_pass=*/false, clock_());
        });
        return;
    }
    const auto pid = processes_.launch(options_.command, *environment, child.socket.get());
    for (auto& [name, value] : *environment) {
        wipe(value);
    }
    if (!pid) {
        handle([this, fault = pid.error()] {
            return policy_.launch_failed(fault.exit_code(), fault.why, fault.may_pass(), clock_());
        });
        return;
    }
    child.pid = *pid;
    child.group = ProcessGroup::led_by(*pid);
    child.started_at = clock_();
    handle([this, who, pid = *pid, started_at = child.started_at] {
        auto actions = policy_.child_started(pid, started_at);
        if (who == Who::serving) {
            listener_.on_started(started_at);
        }
        return actions;
    });
}

/// Whether the child can have its port. A rolling rotation's socket is made here before the first child, and kept when a
/// child is ended before the next one starts: connections wait in its queue meanwhile.
bool Child::prepare_port(OneChild& child) {
    if (!options_.port || child.socket) {
        return true;
    }
    const auto refuse = [this](const std::string& why) {
        handle([this, why] {
            return policy_.launch_failed(1, "can't start " + options_.command.front() + ": " + why,
                                         /*may_pass=*/true, clock_());
        });
        return false;
    };
    if (processes_.port_in_use(*options_.port)) {
        const auto why = "port " + std::to_string(*options_.port) + " is in use by another program";
        if (options_.needs_port) {
            return refuse(why);
        }
        log_.warning("child: " + why + ", which may answer the readiness question in place of the child");
    }
    if (options_.rolling) {
        auto socket = processes_.bind(*options_.port);
        if (!socket) {
            return refuse(socket.error().why);
        }
        child.socket = std::move(*socket);
        if (const auto fault = child.socket->not_shared()) {
            log_.warning("rotation: two children can't share the port, so each rotation ends the old one first: " +
                         fault->why);
        }
    }
    return true;
}

/// Makes the next child's socket, or says why no child can start beside the serving one.
std::optional<std::string> Child::make_room() {
    if (!serving_.socket || !serving_.group) {
        return "there is no socket to share";
    }
    if (const auto fault = serving_.socket->not_shared()) {
        return "the port can't be shared: " + fault->why;
    }
    if (auto why = processes_.no_room_beside(*serving_.group)) {
        return why;
    }
    auto socket = processes_.bind(*options_.port);
    if (!socket) {
        return socket.error().why;
    }
    other_.socket = std::move(*socket);
    // The next child gets no connection before it serves, so that none is lost if it fails. Where that is refused, the
    // hand-over will say so.
    static_cast<void>(serving_.socket->keep_new_connections());
    return std::nullopt;
}

void Child::hand_over() {
    if (const auto fault = other_.socket->take_new_connections()) {
        log_.warning("rotation: new connections can't be led to the next child alone, a few may be lost: " +
                     fault->why);
    }
    std::swap(serving_, other_);
    listener_.on_handed_over(clock_());
}

// --- signals --------------------------------------------------------------------------------------------------------

void Child::signal_children(Who who, int signal) {
    for_each(who, [this, signal](const OneChild& child) { signal_child(child, signal); });
}

void Child::signal_child(const OneChild& child, int signal) {
    if (!child.pid || !child.group) {
        return;
    }
    const int error = options_.single_child ? processes_.signal_process(*child.pid, signal)
                                            : processes_.signal_group(*child.group, signal);
    if (error != 0) {
        log_.debug("child: signal not delivered", {{"signal", std::int64_t{signal}}, {"why", std::strerror(error)}});
    }
}

void Child::kill_groups(Who who) {
    for_each(who, [this](const OneChild& child) {
        if (child.group) {
            processes_.signal_group(*child.group, SIGKILL);
        }
        if (child.pid) {
            // It may have moved to a group of its own.
            processes_.signal_process(*child.pid, SIGKILL);
        }
    });
}

void Child::kill_all() {
    kill_groups(Who::both);
    for (const pid_t orphan : processes_.children()) {
        processes_.signal_process(orphan, SIGKILL);
    }
}

void Child::signal_remaining(int signal) {
    for_each(Who::both, [this, signal](const OneChild& child) {
        if (child.group) {
            processes_.signal_group(*child.group, signal);
        }
    });
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
        bool is_in_group = false;
        for_each(Who::both, [&](const OneChild& child) {
            is_in_group = is_in_group || (child.group && processes_.is_in_group(orphan, *child.group));
        });
        if (!is_in_group && (is_new || !new_ones_only)) {
            processes_.signal_process(orphan, signal);
        }
    }
}

bool Child::any_remaining() {
    bool group_left = false;
    for_each(Who::both, [&](const OneChild& child) {
        group_left = group_left || (child.group && processes_.group_exists(*child.group));
    });
    return group_left || (phase() == Phase::cleaning_up && has_children_);
}

}  // namespace supervisor
