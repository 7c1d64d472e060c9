#include "child/process_calls.hpp"

#include "child/memory_room.hpp"
#include "child/processes.hpp"
#include "child/working_directory.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

namespace supervisor {

boost::system::result<pid_t, LaunchFault> SystemProcessCalls::launch(const std::vector<std::string>& command,
                                                                     const Environment& environment,
                                                                     const ListeningSocket* socket) {
    options_.listening_socket = socket != nullptr ? std::optional{socket->descriptor()} : std::nullopt;
    auto pid = supervisor::launch(command, environment, options_);
    if (pid && !std::exchange(has_launched_, true)) {
        options_.directory = leave_working_directory().value_or("");
    }
    return pid;
}

int SystemProcessCalls::signal_process(pid_t pid, int signal) { return ::kill(pid, signal) == 0 ? 0 : errno; }

int SystemProcessCalls::signal_group(const ProcessGroup& group, int signal) { return group.signal(signal); }

bool SystemProcessCalls::group_exists(const ProcessGroup& group) { return group.exists(); }

bool SystemProcessCalls::is_in_group(pid_t pid, const ProcessGroup& group) { return group.contains(pid); }

std::vector<pid_t> SystemProcessCalls::children() { return supervisor::children(); }

bool SystemProcessCalls::reap(const std::function<void(pid_t, int)>& ended) { return supervisor::reap(ended); }

bool SystemProcessCalls::port_in_use(std::uint16_t port) {
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return false;
    }
    // With SO_REUSEADDR bind(2) fails with EADDRINUSE only while a socket listens there; connections that are still in
    // TIME_WAIT do not matter (socket(7)).
    const int on = 1;
    ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    const bool in_use =
        ::bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno == EADDRINUSE;
    ::close(probe);
    return in_use;
}

Result<std::unique_ptr<ListeningSocket>> SystemProcessCalls::bind(std::uint16_t port) {
    return bind_listening_socket(port);
}

std::optional<std::string> SystemProcessCalls::no_room_beside(const ProcessGroup& group) {
    return supervisor::no_room_beside(group.id(), MemoryRoom{});
}

}  // namespace supervisor
