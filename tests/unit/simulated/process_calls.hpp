#pragma once

#include "child/process_calls.hpp"

#include <cerrno>
#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace simulated {

using supervisor::Environment;
using supervisor::LaunchFault;
using supervisor::ProcessGroup;

/// ProcessCalls without a kernel. Each obeys TERM and INT, unless it is told to be deaf, and KILL, unless it hangs. One that
/// has ended is a zombie until it is reaped, if it is ours.
class ProcessCalls final : public supervisor::ProcessCalls {
public:
    struct Process {
        pid_t group = 0;
        bool is_ours = true;  ///< our direct child, and so ours to reap
        bool obeys_term = true;
        bool obeys_kill = true;
        std::optional<int> code{};  ///< a zombie with this exit code
    };

    /// The results of the next launches: a fault, or a child.
    std::vector<LaunchFault> launch_faults{};
    bool next_obeys_term = true;
    bool next_obeys_kill = true;
    bool port_taken = false;
    bool port_shared = true;               ///< SO_REUSEPORT works
    bool connections_steered = true;       ///< the program of BPF is accepted
    std::optional<std::string> no_room{};  ///< why no second child fits
    std::optional<std::string> no_bind{};  ///< why the port can't be bound

    /// What the kernel knows of a listening socket, whoever holds a copy.
    struct Socket {
        bool listens = false;
        unsigned waiting = 0;
        bool is_open = true;  ///< our copy
    };
    std::map<int, Socket> sockets{};
    std::optional<int> steered_to{};
    std::map<pid_t, int> socket_of{};  ///< which child got which socket

    /// Called when a group is signalled, before its processes are.
    std::function<void(int)> on_group_signal{};

    std::vector<Environment> launched{};             ///< the environment of each child
    std::vector<std::pair<pid_t, int>> signalled{};  ///< to a process; to a group it is the group's negative number
    std::map<pid_t, Process> alive{};
    unsigned launch_tries = 0;

    pid_t start(pid_t group, bool is_ours = true) {
        const pid_t pid = next_pid_++;
        alive.emplace(pid, Process{.group = group == 0 ? pid : group, .is_ours = is_ours});
        return pid;
    }
    void end(pid_t pid, int code) {
        auto& process = alive.at(pid);
        if (!process.is_ours) {
            alive.erase(pid);
        } else if (!process.code) {
            process.code = code;
        }
    }
    /// Its parent has ended, so it becomes our child.
    void orphan(pid_t pid) { alive.at(pid).is_ours = true; }
    [[nodiscard]] bool runs(pid_t pid) const { return alive.contains(pid) && !alive.at(pid).code; }
    [[nodiscard]] bool any_runs() const {
        for (const auto& [pid, process] : alive) {
            if (!process.code) {
                return true;
            }
        }
        return false;
    }

    boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>&, const Environment& environment,
                                                     const supervisor::ListeningSocket* socket) override {
        ++launch_tries;
        if (!launch_faults.empty()) {
            auto fault = launch_faults.front();
            launch_faults.erase(launch_faults.begin());
            return fault;
        }
        launched.push_back(environment);
        const pid_t pid = start(0);
        alive.at(pid).obeys_term = next_obeys_term;
        alive.at(pid).obeys_kill = next_obeys_kill;
        if (socket != nullptr) {
            socket_of[pid] = socket->descriptor();
        }
        return pid;
    }
    int signal_process(pid_t pid, int signal) override {
        signalled.emplace_back(pid, signal);
        if (!alive.contains(pid)) {
            return ESRCH;
        }
        hit(pid, signal);
        return 0;
    }
    int signal_group(const ProcessGroup& group, int signal) override {
        signalled.emplace_back(-group.id(), signal);
        if (on_group_signal) {
            on_group_signal(signal);
        }
        const auto members = members_of(group.id());
        for (const pid_t pid : members) {
            hit(pid, signal);
        }
        return members.empty() ? ESRCH : 0;
    }
    bool group_exists(const ProcessGroup& group) override { return !members_of(group.id()).empty(); }
    bool is_in_group(pid_t pid, const ProcessGroup& group) override {
        return alive.contains(pid) && alive.at(pid).group == group.id();
    }
    std::vector<pid_t> children() override {
        std::vector<pid_t> found;
        for (const auto& [pid, process] : alive) {
            if (process.is_ours) {
                found.push_back(pid);
            }
        }
        return found;
    }
    bool reap(const std::function<void(pid_t, int)>& ended) override {
        for (auto process = alive.begin(); process != alive.end();) {
            if (process->second.is_ours && process->second.code) {
                ended(process->first, *process->second.code);
                process = alive.erase(process);
            } else {
                ++process;
            }
        }
        return !children().empty();
    }
    bool port_in_use(std::uint16_t) override { return port_taken; }
    supervisor::Result<std::unique_ptr<supervisor::ListeningSocket>> bind(std::uint16_t) override {
        if (no_bind) {
            return supervisor::Fault{*no_bind};
        }
        const int descriptor = next_descriptor_++;
        sockets[descriptor] = {};
        std::unique_ptr<supervisor::ListeningSocket> socket = std::make_unique<ListeningSocket>(*this, descriptor);
        return socket;
    }
    std::optional<std::string> no_room_beside(const ProcessGroup&) override { return no_room; }
    /// The child calls listen(2).
    void listen(pid_t pid) { sockets.at(socket_of.at(pid)).listens = true; }

private:
    class ListeningSocket final : public supervisor::ListeningSocket {
    public:
        ListeningSocket(ProcessCalls& kernel, int descriptor) : kernel_(kernel), descriptor_(descriptor) {}
        ListeningSocket(const ListeningSocket&) = delete;
        ListeningSocket& operator=(const ListeningSocket&) = delete;
        ~ListeningSocket() override { state().is_open = false; }
        [[nodiscard]] int descriptor() const override { return descriptor_; }
        [[nodiscard]] std::optional<supervisor::Fault> not_shared() const override {
            return kernel_.port_shared ? std::nullopt
                                       : std::optional{supervisor::Fault{"setsockopt SO_REUSEPORT: not available"}};
        }
        [[nodiscard]] bool listens() const override { return state().listens; }
        [[nodiscard]] unsigned waiting() const override { return state().waiting; }
        std::optional<supervisor::Fault> keep_new_connections() override { return take_new_connections(); }
        std::optional<supervisor::Fault> take_new_connections() override {
            if (!kernel_.connections_steered) {
                return supervisor::Fault{"setsockopt SO_ATTACH_REUSEPORT_CBPF: not permitted"};
            }
            kernel_.steered_to = descriptor_;
            return std::nullopt;
        }

    private:
        [[nodiscard]] Socket& state() const { return kernel_.sockets.at(descriptor_); }
        ProcessCalls& kernel_;
        int descriptor_;
    };

    [[nodiscard]] std::vector<pid_t> members_of(pid_t group) const {
        std::vector<pid_t> found;
        for (const auto& [pid, process] : alive) {
            if (process.group == group) {
                found.push_back(pid);
            }
        }
        return found;
    }
    void hit(pid_t pid, int signal) {
        const auto& process = alive.at(pid);
        const bool term = signal == SIGTERM || signal == SIGINT;
        if (!process.code && ((term && process.obeys_term) || (signal == SIGKILL && process.obeys_kill))) {
            end(pid, 128 + signal);
        }
    }

    pid_t next_pid_ = 100;
    int next_descriptor_ = 10;
};

}  // namespace simulated
