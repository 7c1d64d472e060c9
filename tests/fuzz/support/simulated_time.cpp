#include "support/simulated_time.hpp"

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace {

std::time_t passed = 0;

}  // namespace

namespace supervisor::fuzz {

void let_pass(std::chrono::seconds time) { passed += time.count(); }

}  // namespace supervisor::fuzz

// These take the place of the C library's.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
    const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
    if (result == 0 && clock != CLOCK_REALTIME) {
        time->tv_sec += passed;
    }
    return result;
}

/// A timer of the kernel knows nothing of our time. Without one asio compares its deadlines with the clock.
extern "C" int timerfd_create(int, int) noexcept {
    errno = ENOSYS;
    return -1;
}
