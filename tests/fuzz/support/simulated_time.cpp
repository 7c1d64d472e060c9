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
nanoseconds let_pass_so_far{0};
nanoseconds left_out{0};
nanoseconds last_call{0};

nanoseconds to_duration(const timespec& time) { return std::chrono::seconds{time.tv_sec} + nanoseconds{time.tv_nsec}; }

/// What the steady clocks are ahead of those of the kernel.
nanoseconds offset() {
    timespec now{};
    ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    const auto pause = last_call == nanoseconds{0} ? nanoseconds{0} : to_duration(now) - last_call;
    left_out += std::max(pause - longest_pause, nanoseconds{0});
    last_call = to_duration(now);
    return let_pass_so_far - left_out;
}

bool is_steady(clockid_t clock) {
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE ||
           clock == CLOCK_BOOTTIME;
}

}  // namespace

namespace supervisor::fuzz {

void let_pass(std::chrono::seconds time) { let_pass_so_far += time; }

}  // namespace supervisor::fuzz

// These take the place of the C library's.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
    const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
    if (result == 0 && is_steady(clock)) {
        const auto simulated = to_duration(*time) + offset();
        const auto whole = std::chrono::floor<std::chrono::seconds>(simulated);
        *time = {whole.count(), (simulated - whole).count()};
    }
    return result;
}

/// A timer of the kernel knows nothing of our time. Without one asio compares its deadlines with the clock.
extern "C" int timerfd_create(int, int) noexcept {
    errno = ENOSYS;
    return -1;
}
