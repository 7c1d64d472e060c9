#pragma once

#include "base/environment.hpp"
#include "base/fault.hpp"
#include "child/child_process.hpp"
#include "child/listening_socket.hpp"
#include "child/process_group.hpp"

#include <boost/system/result.hpp>

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace supervisor {

/// What Child asks of the kernel: the real calls in the program, simulated processes in a test.
class ProcessCalls {
public:
    ProcessCalls() = default;
    ProcessCalls(const ProcessCalls&) = delete;
    ProcessCalls& operator=(const ProcessCalls&) = delete;
    virtual ~ProcessCalls() = default;

    /// See launch() of child_process.hpp; `socket` may be null.
    virtual boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                             const Environment& environment,
                                                             const ListeningSocket* socket) = 0;
    /// kill(2) for the one process; 0, or the errno of the failure.
    virtual int signal_process(pid_t pid, int signal) = 0;
    /// kill(2) for every process of the group; 0, or the errno of the failure.
    virtual int signal_group(const ProcessGroup& group, int signal) = 0;
    /// See ProcessGroup::exists().
    virtual bool group_exists(const ProcessGroup& group) = 0;
    /// Whether the process is in the group.
    virtual bool is_in_group(pid_t pid, const ProcessGroup& group) = 0;
    /// Our direct children: the main child, and the orphans that we adopted.
    virtual std::vector<pid_t> children() = 0;
    /// See reap() of processes.hpp.
    virtual bool reap(const std::function<void(pid_t, int)>& ended) = 0;
    /// Whether a socket listens on the TCP port, on any IPv4 address of this machine.
    virtual bool port_in_use(std::uint16_t port) = 0;
    /// See bind_listening_socket().
    virtual Result<std::unique_ptr<ListeningSocket>> bind(std::uint16_t port) = 0;
    /// See no_room_beside() of memory_room.hpp.
    virtual std::optional<std::string> no_room_beside(const ProcessGroup& group) = 0;
};

/// The kernel's processes. The first launch leaves our working directory for `/`, so that we keep no mount
/// busy; every child starts in the directory in which we were started.
class SystemProcessCalls final : public ProcessCalls {
public:
    /// `die_with_parent`: see LaunchOptions.
    explicit SystemProcessCalls(bool die_with_parent) { options_.die_with_parent = die_with_parent; }

    boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                     const Environment& environment,
                                                     const ListeningSocket* socket) override;
    int signal_process(pid_t pid, int signal) override;
    int signal_group(const ProcessGroup& group, int signal) override;
    bool group_exists(const ProcessGroup& group) override;
    bool is_in_group(pid_t pid, const ProcessGroup& group) override;
    std::vector<pid_t> children() override;
    bool reap(const std::function<void(pid_t, int)>& ended) override;
    bool port_in_use(std::uint16_t port) override;
    Result<std::unique_ptr<ListeningSocket>> bind(std::uint16_t port) override;
    std::optional<std::string> no_room_beside(const ProcessGroup& group) override;

private:
    LaunchOptions options_{};
    bool has_launched_ = false;
};

}  // namespace supervisor
