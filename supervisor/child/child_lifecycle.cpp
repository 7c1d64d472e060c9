#include "child/child_lifecycle.hpp"

#include <algorithm>
#include <csignal>
#include <cstdint>

namespace supervisor {
namespace {

using Kind = Action::Kind;

Action act(Kind kind) { return {.kind = kind}; }
Action send(Kind kind, int signal) { return {.kind = kind, .signal = signal}; }
Action arm(milliseconds delay) { return {.kind = Kind::arm, .delay = delay}; }
Action log(Level level, std::string message, std::vector<Field> fields = {}) {
    return {.kind = Kind::log, .line = {level, std::move(message), std::move(fields)}};
}

void append(Actions& actions, const Actions& more) { actions.insert(actions.end(), more.begin(), more.end()); }

std::int64_t since(Moment then, Moment now) { return (now.boot - then.boot).count(); }

}  // namespace

Actions ChildLifecycle::start() { return {act(Kind::launch)}; }

Actions ChildLifecycle::child_started(int pid, Moment now) {
    if (ever_started_) {
        ++restarts_;
    }
    ever_started_ = true;
    phase_ = Phase::running;
    killed_ = false;
    relaunch_deadline_.reset();
    started_at_ = now;
    return {log(Level::info, "child: started", {{"pid", pid}, {"restarts", std::int64_t{restarts_}}})};
}

Actions ChildLifecycle::launch_failed(int code, const std::string& why, bool may_pass, Moment now) {
    if (phase_ == Phase::replacing && may_pass) {
        if (!relaunch_deadline_) {
            relaunch_deadline_ = now + relaunch_limit;
            relaunch_pause_ = first_relaunch_pause;
        }
        if (since(*relaunch_deadline_, now) < 0) {
            const auto pause = relaunch_pause_;
            relaunch_pause_ = std::min(relaunch_pause_ * 2, longest_relaunch_pause);
            return {log(Level::warning, "rotation: the next child is not started yet: " + why,
                        {{"next_try_ms", pause.count()}}),
                    arm(pause)};
        }
    }
    phase_ = Phase::stopped;
    return {log(Level::error, "child: " + why), act(Kind::disarm), {.kind = Kind::exit, .code = code}};
}

Actions ChildLifecycle::rotate(std::string why, Moment now) {
    if (phase_ != Phase::running) {
        // The child after a drain in progress gets the newest token anyway, and a stop needs none.
        return {};
    }
    why_ = std::move(why);
    const auto since_start = milliseconds{since(started_at_, now)};
    if (since_start >= floor) {
        return drain(now);
    }
    rotation_due_ = true;
    return {log(Level::info, "rotation: held back, the child started a moment ago",
                {{"why", why_}, {"wait_ms", (floor - since_start).count()}}),
            arm(floor - since_start)};
}

Actions ChildLifecycle::drain(Moment now) {
    phase_ = Phase::draining;
    rotation_due_ = false;
    drain_started_at_ = now;
    // A stopped process cannot act on TERM, so it is continued.
    return {log(Level::info, "rotation: draining the child", {{"why", why_}}), send(Kind::signal_child, SIGTERM),
            send(Kind::signal_child, SIGCONT), arm(settings_.drain_timeout)};
}

Actions ChildLifecycle::child_exited(int code, Moment now) {
    if (phase_ == Phase::stopped) {
        return {};
    }
    if (phase_ == Phase::draining) {
        phase_ = Phase::replacing;
        exit_code_ = code;
        Actions actions{log(Level::info, "rotation: child drained",
                            {{"took_ms", since(drain_started_at_, now)},
                             {"how", killed_ ? "killed after the drain timeout" : "ended by itself"},
                             {"code", code}}),
                        act(Kind::kill_group), arm(replacing_timeout), act(Kind::look_for_remaining)};
        return actions;
    }
    return leave(code, now);
}

Actions ChildLifecycle::leave(int code, Moment now) {
    const bool stop_asked = stop_deadline_.has_value();
    phase_ = Phase::cleaning_up;
    exit_code_ = code;
    killed_ = false;
    if (!stop_asked) {
        stop_deadline_ = now + settings_.stop_timeout;
    }
    std::vector<Field> fields{{"code", code}};
    if (!stop_asked && code == 128 + SIGKILL) {
        fields.push_back({"why", "SIGKILL, and not by us: mostly the kernel's, for want of memory"});
    }
    Actions actions{log(stop_asked || code == 0 ? Level::info : Level::error,
                        stop_asked ? "child: stopped" : "child: ended by itself", std::move(fields))};
    if (waits_for_remaining()) {
        append(actions, {send(Kind::signal_remaining, SIGTERM), send(Kind::signal_remaining, SIGCONT),
                         arm(left_to_stop(now)), act(Kind::look_for_remaining)});
    } else {
        append(actions, exit());
    }
    return actions;
}

Actions ChildLifecycle::remaining_processes(bool any) {
    if (phase_ == Phase::replacing && !any && !relaunch_deadline_) {
        return {act(Kind::disarm), act(Kind::launch)};
    }
    if (phase_ == Phase::cleaning_up) {
        if (!any) {
            return exit();
        }
        // The children of a process that has just ended become our orphans only now.
        return {killed_ ? send(Kind::signal_remaining, SIGKILL) : send(Kind::signal_new_orphans, SIGTERM)};
    }
    return {};
}

Actions ChildLifecycle::stop(int signal, Moment now) {
    switch (phase_) {
        case Phase::waiting: exit_code_ = 128 + signal; return exit();
        case Phase::running:
        case Phase::draining:
            phase_ = Phase::stopping;
            rotation_due_ = false;
            killed_ = false;
            stop_deadline_ = now + settings_.stop_timeout;
            return {log(Level::info, "stop: asked to end, forwarding", {{"signal", signal}}),
                    send(Kind::signal_child, signal), send(Kind::signal_child, SIGCONT),
                    waits_for_remaining() ? arm(left_to_stop(now)) : act(Kind::disarm)};
        case Phase::replacing: stop_deadline_ = now + settings_.stop_timeout; return leave(exit_code_, now);
        case Phase::stopping:
            return {log(Level::info, "stop: asked again, forwarding", {{"signal", signal}}),
                    send(Kind::signal_child, signal)};
        case Phase::cleaning_up: return {send(Kind::signal_remaining, signal)};
        case Phase::stopped: break;
    }
    return {};
}

Actions ChildLifecycle::timer_fired(Moment now) {
    switch (phase_) {
        case Phase::running: return rotation_due_ ? drain(now) : Actions{};
        case Phase::draining:
            if (killed_) {
                return give_up_killed_child("rotation: the child did not die of SIGKILL, leaving it");
            }
            killed_ = true;
            return {log(Level::warning, "rotation: the child did not end within the drain timeout, killing it",
                        {{"drain_timeout_ms", settings_.drain_timeout.count()}}),
                    act(Kind::kill_group), arm(drain_kill_grace)};
        case Phase::replacing:
            if (relaunch_deadline_) {
                return {act(Kind::launch)};
            }
            return {log(Level::warning, "rotation: something of the old child's group is left and can't be killed"),
                    act(Kind::launch)};
        case Phase::stopping:
            if (killed_) {
                return give_up_killed_child("stop: the child did not die of SIGKILL, leaving it");
            }
            killed_ = true;
            return {log(Level::warning, "stop: the child did not end within the stop timeout, killing it",
                        {{"stop_timeout_ms", settings_.stop_timeout.count()}}),
                    act(Kind::kill_group), arm(final_grace)};
        case Phase::cleaning_up:
            if (killed_) {
                return exit();
            }
            killed_ = true;
            return {log(Level::warning, "stop: processes of the child are left, killing them"),
                    send(Kind::signal_remaining, SIGKILL), arm(final_grace), act(Kind::look_for_remaining)};
        case Phase::waiting:
        case Phase::stopped: break;
    }
    return {};
}

/// Only a process that hangs in the kernel survives SIGKILL. A second child must not run beside it, so the platform has
/// to replace the container.
Actions ChildLifecycle::give_up_killed_child(std::string message) {
    exit_code_ = 128 + SIGKILL;
    Actions actions{log(Level::error, std::move(message))};
    append(actions, exit());
    return actions;
}

Actions ChildLifecycle::exit() {
    phase_ = Phase::stopped;
    return {act(Kind::disarm), {.kind = Kind::exit, .code = exit_code_}};
}

milliseconds ChildLifecycle::left_to_stop(Moment now) const {
    return std::max(milliseconds{0}, milliseconds{since(now, *stop_deadline_)});
}

}  // namespace supervisor
