#include "child/process_group.hpp"

#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace supervisor {

std::optional<ProcessGroup> ProcessGroup::led_by(pid_t leader) {
    if (leader <= 1) {
        return std::nullopt;
    }
    return ProcessGroup{leader};
}

int ProcessGroup::signal(int number) const { return ::kill(-id_, number) == 0 ? 0 : errno; }

bool ProcessGroup::exists() const {
    // Signal 0 is only checked, not sent; a process that we may not signal is there nevertheless (kill(2)).
    const int error = signal(0);
    return error == 0 || error == EPERM;
}

bool ProcessGroup::contains(pid_t process) const { return process > 0 && ::getpgid(process) == id_; }

}  // namespace supervisor
