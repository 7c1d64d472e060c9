#include "child/inherited_socket.hpp"

#include <fcntl.h>

#include <charconv>

namespace supervisor {

char* add_listen_variables(std::vector<std::string>& assignments) {
    const std::string pid_variable = "LISTEN_PID=";
    std::erase_if(assignments, [&pid_variable](const std::string& line) {
        return line.starts_with("LISTEN_FDS=") || line.starts_with("LISTEN_FDNAMES=") || line.starts_with(pid_variable);
    });
    assignments.emplace_back("LISTEN_FDS=1");
    assignments.push_back(pid_variable + std::string(longest_pid, '0'));
    return assignments.back().data() + pid_variable.size();
}

bool inherit(int socket, char* own_pid) {
    *std::to_chars(own_pid, own_pid + longest_pid, ::getpid()).ptr = '\0';
    // dup2(2) clears the flag close-on-exec, but does nothing at all when both numbers are the same.
    return socket == inherited_descriptor ? ::fcntl(socket, F_SETFD, 0) == 0
                                          : ::dup2(socket, inherited_descriptor) >= 0;
}

ReservedDescriptor::ReservedDescriptor(std::optional<int> socket)
    : descriptor_(socket ? ::fcntl(*socket, F_DUPFD_CLOEXEC, inherited_descriptor) : -1) {}

ReservedDescriptor::~ReservedDescriptor() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

}  // namespace supervisor
