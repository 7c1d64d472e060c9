#include "child/core_files.hpp"

#include "own_process.hpp"

#include <catch2/catch_test_macros.hpp>
#include <sys/resource.h>

using namespace supervisor;

namespace {

std::string limits() {
    rlimit limit{};
    ::getrlimit(RLIMIT_CORE, &limit);
    return std::to_string(limit.rlim_cur) + ' ' + std::to_string(limit.rlim_max);
}

}  // namespace

// Linux, fs/coredump.c: a core that is piped to a handler is given up for the limit 1 alone.
TEST_CASE("The soft limit of core files becomes 1, and a hard one above it stays") {
    for (const rlim_t soft : {rlim_t{0}, rlim_t{1}, rlim_t{4096}}) {
        const auto result = in_own_process([soft] {
            const rlimit before{soft, 4096};
            if (::setrlimit(RLIMIT_CORE, &before) != 0) {
                return std::string{"the hard limit is lower"};
            }
            const auto fault = forbid_core_files();
            return fault ? fault->why : limits() + (::prctl(PR_GET_DUMPABLE) == 0 ? "" : " dumpable");
        });
        if (result == "the hard limit is lower") {
            SKIP(result);
        }
        CHECK(result == "1 4096");
    }
}

TEST_CASE("A hard limit of 0 is no fault") {
    const auto result = in_own_process([] {
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        const auto fault = forbid_core_files();
        return fault ? fault->why : limits();
    });
    // The second result is that of a process that may not raise the limit.
    CHECK((result == "1 1" || result == "0 0"));
}

TEST_CASE("A sandbox that refuses to close our memory is told of") {
    const auto result = in_own_process([] {
        if (!refuse_system_calls({SYS_prctl}, EPERM)) {
            return std::string{"no filter"};
        }
        const auto fault = forbid_core_files();
        return fault ? fault->why : "no fault";
    });
    if (result == "no filter") {
        SKIP("system calls can't be refused here");
    }
    CHECK(result == "can't close our memory to others by PR_SET_DUMPABLE: Operation not permitted");
}
