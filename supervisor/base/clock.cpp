#include "base/clock.hpp"

#include <ctime>

namespace supervisor {
namespace {

milliseconds read(clockid_t clock) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return std::chrono::duration_cast<milliseconds>(std::chrono::seconds{time.tv_sec} +
                                                    std::chrono::nanoseconds{time.tv_nsec});
}

}  // namespace

Moment read_clocks() { return {read(CLOCK_REALTIME), read(CLOCK_BOOTTIME)}; }

}  // namespace supervisor
