#pragma once

#include "child/child_action.hpp"

#include <csignal>
#include <string>
#include <vector>

namespace simulated {

using supervisor::Actions;
using supervisor::LogLine;
using supervisor::Who;
using Kind = supervisor::Action::Kind;

/// What is to be done, in order, without the log lines: `TERM>child`, `arm 30s`, `exit 143`.
inline std::string steps(const Actions& actions) {
    std::string text;
    const auto add = [&text](const std::string& step) { text += (text.empty() ? "" : ", ") + step; };
    for (const auto& action : actions) {
        const auto signal = action.signal == SIGTERM   ? std::string{"TERM"}
                            : action.signal == SIGCONT ? "CONT"
                            : action.signal == SIGINT  ? "INT"
                            : action.signal == SIGKILL ? "KILL"
                                                       : std::to_string(action.signal);
        const auto one = [&action](const std::string& serving, const std::string& other, const std::string& both) {
            return action.who == Who::serving ? serving : action.who == Who::other ? other : both;
        };
        switch (action.kind) {
            case Kind::launch: add("launch" + one("", " other", "?")); break;
            case Kind::look_for_room: add("room?"); break;
            case Kind::hand_over: add("hand over"); break;
            case Kind::close_socket: add("close socket of " + one("child", "other", "?")); break;
            case Kind::forget_other: add("forget other"); break;
            case Kind::signal_child: add(signal + '>' + one("child", "other", "all")); break;
            case Kind::kill_group: add("KILL>" + one("group", "other group", "all groups")); break;
            case Kind::signal_remaining: add(signal + ">remaining"); break;
            case Kind::signal_new_orphans: add(signal + ">new orphans"); break;
            case Kind::look_for_remaining: add("look"); break;
            case Kind::arm: add("arm " + std::to_string(action.delay.count())); break;
            case Kind::disarm: add("disarm"); break;
            case Kind::report_drained:
            case Kind::report_failed: break;
            case Kind::exit: add("exit " + std::to_string(action.code)); break;
            case Kind::log: break;
        }
    }
    return text;
}

inline std::vector<LogLine> lines(const Actions& actions) {
    std::vector<LogLine> found;
    for (const auto& action : actions) {
        if (action.kind == Kind::log) {
            found.push_back(action.line);
        }
    }
    return found;
}

}  // namespace simulated
