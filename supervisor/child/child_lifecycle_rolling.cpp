// The part of ChildLifecycle that a rolling rotation adds: two children at once.
#include "child/child_lifecycle.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>

namespace supervisor {
namespace {

using Kind = Action::Kind;

/// Pauses after the first, second ... rolling rotation in a row that failed; the last one stays.
constexpr std::array rotation_pauses{milliseconds{30'000}, milliseconds{60'000}, milliseconds{120'000},
                                     milliseconds{300'000}};

}  // namespace

Actions ChildLifecycle::room_for_next(const std::optional<std::string>& obstacle, Moment now) {
    if (phase_ != Phase::running || !rotation_due_) {
        return {};
    }
    if (obstacle) {
        Actions actions{log(Level::warning,
                            "rotation: the next child can't run beside this one, which is ended first: " + *obstacle)};
        append(actions, drain(now));
        return actions;
    }
    phase_ = Phase::overlapping;
    rotation_due_ = false;
    killed_ = false;
    return {log(Level::info, "rotation: starting the next child beside this one", {{"why", why_}}), act(Kind::disarm),
            act(Kind::launch, Who::other)};
}

Actions ChildLifecycle::next_listens(Moment now) {
    if (phase_ != Phase::overlapping) {
        return {};
    }
    phase_ = Phase::handing_over;
    ++restarts_;
    failed_rotations_ = 0;
    next_rotation_ = started_at_ + floor;
    queue_empty_since_.reset();
    return {act(Kind::hand_over),
            log(Level::info, "rotation: new connections go to the next child",
                {{"after_ms", elapsed(started_at_, now).count()}}),
            arm(queue_patience)};
}

Actions ChildLifecycle::old_queue(unsigned waiting, Moment now) {
    if (phase_ != Phase::handing_over) {
        return {};
    }
    if (waiting > 0) {
        queue_empty_since_.reset();
        return {};
    }
    if (!queue_empty_since_) {
        queue_empty_since_ = now;
    }
    return elapsed(*queue_empty_since_, now) >= queue_stays_empty ? retire(now) : Actions{};
}

/// The socket is closed before TERM: ours would keep it open when the child closes its own, and what came into its queue
/// then would wait for nobody.
Actions ChildLifecycle::retire(Moment now) {
    phase_ = Phase::retiring;
    killed_ = false;
    drain_started_at_ = now;
    return {act(Kind::close_socket, Who::other), send(Kind::signal_child, SIGTERM, Who::other),
            send(Kind::signal_child, SIGCONT, Who::other), arm(settings_.drain_timeout)};
}

Actions ChildLifecycle::other_exited(int code, Moment now) {
    Actions actions{act(Kind::kill_group, Who::other), act(Kind::forget_other)};
    switch (phase_) {
        case Phase::overlapping:
            append(actions, try_again_later("it ended with code " + std::to_string(code) + " before it listened", now));
            break;
        case Phase::handing_over: drain_started_at_ = now; [[fallthrough]];
        case Phase::retiring: append(actions, drained(/*is_old=*/failed_rotations_ == 0, code, now)); break;
        default: return {};  // its end is part of the program's
    }
    phase_ = Phase::running;
    append(actions, wait_for_due_rotation(now));
    return actions;
}

Actions ChildLifecycle::try_again_later(const std::string& why, Moment now) {
    const auto pause = rotation_pauses.at(std::min<std::size_t>(failed_rotations_, rotation_pauses.size() - 1));
    ++failed_rotations_;
    rotation_due_ = true;
    next_rotation_ = now + pause;
    return {log(Level::error, "rotation: the next child failed, the old one is kept: " + why,
                {{"next_try_ms", pause.count()}}),
            act(Kind::report_failed)};
}

Actions ChildLifecycle::wait_for_due_rotation(Moment now) {
    if (!rotation_due_) {
        return {act(Kind::disarm)};
    }
    return {arm(std::max(milliseconds{0}, elapsed(now, next_rotation_)))};
}

}  // namespace supervisor
