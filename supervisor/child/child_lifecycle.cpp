#include "child/child_lifecycle.hpp"

#include <algorithm>
#include <csignal>
#include <cstdint>

namespace supervisor {
namespace {

using Kind = Action::Kind;

}  // namespace

Actions ChildLifecycle::start() { return {act(Kind::launch)}; }

Actions ChildLifecycle::child_started(int pid, Moment now) {
    started_at_ = now;
    if (phase_ == Phase::overlapping) {
        return {log(Level::info, "child: started", {{"pid", pid}, {"restarts", std::int64_t{restarts_} + 1}}),
                arm(settings_.start_deadline)};
    }
    if (ever_started_) {
        ++restarts_;
    }
    ever_started_ = true;
    phase_ = Phase::running;
    killed_ = false;
    relaunch_deadline_.reset();
    next_rotation_ = now + floor;
    return {log(Level::info, "child: started", {{"pid", pid}, {"restarts", std::int64_t{restarts_}}})};
}

Actions ChildLifecycle::launch_failed(int code, const std::string& why, bool may_pass, Moment now) {
    if (phase_ == Phase::overlapping) {
        phase_ = Phase::running;
        Actions actions{act(Kind::forget_other)};
        append(actions, try_again_later(why, now));
        append(actions, wait_for_due_rotation(now));
        return actions;
    }
    if (phase_ == Phase::replacing && may_pass) {
        if (!relaunch_deadline_) {
            relaunch_deadline_ = now + relaunch_limit;
            relaunch_pause_ = first_relaunch_pause;
        }
        if (elapsed(*relaunch_deadline_, now) < milliseconds{0}) {
            const auto pause = relaunch_pause_;
            relaunch_pause_ = std::min(relaunch_pause_ * 2, longest_relaunch_pause);
            return {log(Level::warning, "rotation: the next child is not started yet: " + why,
                        {{"next_try_ms", pause.count()}}),
                    act(Kind::report_failed), arm(pause)};
        }
    }
    phase_ = Phase::stopped;
    return {log(Level::error, "child: " + why), act(Kind::disarm), {.kind = Kind::exit, .code = code}};
}

Actions ChildLifecycle::rotate(std::string why, Moment now) {
    if (!serves(phase_)) {
        // The child after a drain in progress gets the newest token anyway, and a stop needs none.
        return {};
    }
    why_ = std::move(why);
    rotation_due_ = true;
    rotation_allowed_ = true;
    if (phase_ != Phase::running) {
        return {};
    }
    const auto wait = elapsed(now, next_rotation_);
    if (wait <= milliseconds{0}) {
        return begin_rotation(now);
    }
    return {log(Level::info,
                failed_rotations_ == 0 ? "rotation: held back, the child started a moment ago"
                                       : "rotation: held back, the last one failed a moment ago",
                {{"why", why_}, {"wait_ms", wait.count()}}),
            arm(wait)};
}

Actions ChildLifecycle::allow_rotation(bool allowed, Moment now) {
    const bool again = allowed && !rotation_allowed_;
    rotation_allowed_ = allowed;
    if (again && phase_ == Phase::replacing && next_waits_) {
        return launch_next();
    }
    return again && rotation_due_ && phase_ == Phase::running ? wait_for_due_rotation(now) : Actions{};
}

/// After the old child. allow_rotation() brings the next one if it has to wait.
Actions ChildLifecycle::launch_next() {
    if (!rotation_allowed_) {
        next_waits_ = true;
        return {log(Level::warning, "rotation: the next child waits for a fresh token, the newest one has expired"),
                act(Kind::disarm)};
    }
    next_waits_ = false;
    return {act(Kind::disarm), act(Kind::launch)};
}

Actions ChildLifecycle::begin_rotation(Moment now) { return rolling_ ? Actions{act(Kind::look_for_room)} : drain(now); }

Actions ChildLifecycle::drain(Moment now) {
    phase_ = Phase::draining;
    rotation_due_ = false;
    drain_started_at_ = now;
    // A stopped process cannot act on TERM, so it is continued.
    return {log(Level::info, "rotation: draining the child", {{"why", why_}}), send(Kind::signal_child, SIGTERM),
            send(Kind::signal_child, SIGCONT), arm(settings_.drain_timeout)};
}

Actions ChildLifecycle::child_exited(Who who, int code, Moment now) {
    if (phase_ == Phase::stopped) {
        return {};
    }
    if (who == Who::other) {
        return other_exited(code, now);
    }
    if (phase_ == Phase::draining) {
        phase_ = Phase::replacing;
        exit_code_ = code;
        auto actions = drained(/*is_old=*/true, code, now);
        append(actions, {act(Kind::kill_group), arm(replacing_timeout), act(Kind::look_for_remaining)});
        return actions;
    }
    return leave(code, now);
}

Actions ChildLifecycle::drained(bool is_old, int code, Moment now) const {
    const auto took = elapsed(drain_started_at_, now);
    Actions actions{log(Level::info,
                        is_old ? "rotation: child drained" : "rotation: the next child that failed has ended",
                        {{"took_ms", took.count()},
                         {"how", killed_ ? "killed after the drain timeout" : "ended by itself"},
                         {"code", code}})};
    if (is_old) {
        actions.push_back(report_drained(took));
    }
    return actions;
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
    if (phase_ == Phase::replacing && !any && !relaunch_deadline_ && !next_waits_) {
        return launch_next();
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
        case Phase::overlapping:
        case Phase::handing_over:
        case Phase::retiring:
            if (signal == SIGTERM && settings_.stop_delay > milliseconds{0}) {
                phase_ = Phase::delaying_stop;
                rotation_due_ = false;
                return {log(Level::info, "stop: asked to end, not ready from now on, forwarding later",
                            {{"signal", signal}, {"stop_delay_ms", settings_.stop_delay.count()}}),
                        arm(settings_.stop_delay)};
            }
            [[fallthrough]];
        case Phase::delaying_stop:
        case Phase::draining: return begin_stop(signal, now);
        case Phase::replacing: stop_deadline_ = now + settings_.stop_timeout; return leave(exit_code_, now);
        case Phase::stopping:
            return {log(Level::info, "stop: asked again, forwarding", {{"signal", signal}}),
                    send(Kind::signal_child, signal, Who::both)};
        case Phase::cleaning_up: return {send(Kind::signal_remaining, signal)};
        case Phase::stopped: break;
    }
    return {};
}

Actions ChildLifecycle::begin_stop(int signal, Moment now) {
    phase_ = Phase::stopping;
    rotation_due_ = false;
    killed_ = false;
    stop_deadline_ = now + settings_.stop_timeout;
    return {log(Level::info, "stop: asked to end, forwarding", {{"signal", signal}}),
            send(Kind::signal_child, signal, Who::both), send(Kind::signal_child, SIGCONT, Who::both),
            waits_for_remaining() ? arm(left_to_stop(now)) : act(Kind::disarm)};
}

Actions ChildLifecycle::timer_fired(Moment now) {
    switch (phase_) {
        case Phase::running:
            if (rotation_due_ && !rotation_allowed_) {
                return {log(Level::info, "rotation: held back, the newest token has expired", {{"why", why_}})};
            }
            return rotation_due_ ? begin_rotation(now) : Actions{};
        case Phase::overlapping: {
            auto actions = try_again_later("it did not listen within the start deadline", now);
            append(actions, retire(now));
            return actions;
        }
        case Phase::handing_over: {
            Actions actions;
            if (!queue_empty_since_) {
                actions.push_back(log(Level::warning, "rotation: the old child leaves connections in its queue"));
            }
            append(actions, retire(now));
            return actions;
        }
        case Phase::retiring:
        case Phase::draining:
            if (killed_) {
                return give_up_killed_child("rotation: the child did not die of SIGKILL, leaving it");
            }
            killed_ = true;
            return {log(Level::warning, "rotation: the child did not end within the drain timeout, killing it",
                        {{"drain_timeout_ms", settings_.drain_timeout.count()}}),
                    act(Kind::kill_group, phase_ == Phase::draining ? Who::serving : Who::other),
                    arm(drain_kill_grace)};
        case Phase::replacing: {
            Actions actions;
            if (!relaunch_deadline_) {
                actions = {
                    log(Level::warning, "rotation: something of the old child's group is left and can't be killed")};
            }
            append(actions, launch_next());
            return actions;
        }
        case Phase::delaying_stop: return begin_stop(SIGTERM, now);
        case Phase::stopping:
            if (killed_) {
                return give_up_killed_child("stop: the child did not die of SIGKILL, leaving it");
            }
            killed_ = true;
            return {log(Level::warning, "stop: the child did not end within the stop timeout, killing it",
                        {{"stop_timeout_ms", settings_.stop_timeout.count()}}),
                    act(Kind::kill_group, Who::both), arm(final_grace)};
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
    return std::max(milliseconds{0}, elapsed(now, *stop_deadline_));
}

}  // namespace supervisor
