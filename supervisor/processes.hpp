#pragma once

#include "child_process.hpp"
#include "environment.hpp"

#include <boost/system/result.hpp>

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace supervisor {

/// What Child asks of the kernel: the real calls in the program, simulated processes in a test.
class Processes {
public:
    Processes() = default;
    Processes(const Processes&) = delete;
    Processes& operator=(const Processes&) = delete;
    virtual ~Processes() = default;

    /// See launch() of child_process.hpp.
    virtual boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                             const Environment& environment) = 0;
    /// kill(2) for the one process; 0, or the errno of the failure.
    virtual int signal_process(pid_t pid, int signal) = 0;
    /// kill(2) for every process of the group; 0, or the errno of the failure.
    virtual int signal_group(pid_t group, int signal) = 0;
    /// Whether a process of the group is left, zombies included, until their parent has reaped them.
    virtual bool group_exists(pid_t group) = 0;
    /// The group that the process is in, or -1 if there is no such process.
    virtual pid_t group_of(pid_t pid) = 0;
    /// Our direct children: the main child, and what was orphaned into our care.
    virtual std::vector<pid_t> children() = 0;
    /// See reap() of reaper.hpp.
    virtual bool reap(const std::function<void(pid_t, int)>& ended) = 0;
    /// Whether a socket listens on the TCP port, on any IPv4 address of this machine.
    virtual bool port_in_use(std::uint16_t port) = 0;
};

/// The kernel's processes.
class SystemProcesses final : public Processes {
public:
    boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                     const Environment& environment) override;
    int signal_process(pid_t pid, int signal) override;
    int signal_group(pid_t group, int signal) override;
    bool group_exists(pid_t group) override;
    pid_t group_of(pid_t pid) override;
    std::vector<pid_t> children() override;
    bool reap(const std::function<void(pid_t, int)>& ended) override;
    bool port_in_use(std::uint16_t port) override;
};

}  // namespace supervisor
