#include "support/simulated_time.hpp"

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds longest_pause = std::chrono::milliseconds{10};
nanoseconds of_the_kernel{0};
nanoseconds simulated = std::chrono::hours{1};

/// The time of all steady clocks. It follows that of the kernel from call to call, so that it never goes back.
nanoseconds steady_time() {
    timespec now{};
    ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    const auto time = std::chrono::seconds{now.tv_sec} + nanoseconds{now.tv_nsec};
    simulated += std::min(time - of_the_kernel, longest_pause);
    of_the_kernel = time;
    return simulated;
}

bool is_steady(clockid_t clock) {
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE ||
           clock == CLOCK_BOOTTIME;
}

}  // namespace

namespace supervisor::fuzz {

void let_pass(std::chrono::seconds time) { simulated += time; }

}  // namespace supervisor::fuzz

// These take the place of the C library's.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
    if (!is_steady(clock)) {
        return static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
    }
    const auto now = steady_time();
    const auto whole = std::chrono::floor<std::chrono::seconds>(now);
    *time = {whole.count(), (now - whole).count()};
    return 0;
}

/// A timer of the kernel knows nothing of our time. Without one asio compares its deadlines with the clock.
extern "C" int timerfd_create(int, int) noexcept {
    errno = ENOSYS;
    return -1;
}
