#include "failing_epoll.hpp"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace supervisor::tests {

int& epoll_failures() {
    thread_local int failures = 0;
    return failures;
}

}  // namespace supervisor::tests

extern "C" int epoll_ctl(int instance, int operation, int descriptor, epoll_event* event) noexcept {
    if (auto& failures = supervisor::tests::epoll_failures(); operation != EPOLL_CTL_DEL && failures > 0) {
        --failures;
        errno = ENOMEM;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_epoll_ctl, instance, operation, descriptor, event));
}
