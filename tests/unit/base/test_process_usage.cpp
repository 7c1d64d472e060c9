#include "base/process_usage.hpp"

#include <catch2/catch_test_macros.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <vector>

using namespace supervisor;

TEST_CASE("Each descriptor that is opened counts, and the limit is that of the process") {
    const auto before = read_process_usage();
    REQUIRE(before.open_descriptors.has_value());
    CHECK(*before.open_descriptors >= 3);
    std::vector<int> opened;
    for (int i = 0; i < 7; ++i) {
        opened.push_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        REQUIRE(opened.back() >= 0);
    }
    CHECK(read_process_usage().open_descriptors == *before.open_descriptors + 7);
    for (const int descriptor : opened) {
        ::close(descriptor);
    }
    // Reading leaves none open.
    CHECK(read_process_usage().open_descriptors == before.open_descriptors);

    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const auto all = limit.rlim_cur;
    limit.rlim_cur = 64;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(read_process_usage().most_descriptors == 64);
    CHECK(descriptor_limit() == 64);
    limit.rlim_cur = all;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST_CASE("Memory that is mapped counts at once, and as resident when it is used") {
    constexpr std::size_t size = 64 * 1024 * 1024;
    const auto before = read_process_usage();
    REQUIRE(before.virtual_memory.has_value());
    REQUIRE(before.resident_memory.has_value());
    CHECK(*before.resident_memory > 0);
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    const auto mapped = read_process_usage();
    CHECK(*mapped.virtual_memory - *before.virtual_memory >= size);
    std::memset(memory, 1, size);
    const auto used = read_process_usage();
    // The kernel may count a few pages late.
    CHECK(*used.resident_memory - *mapped.resident_memory >= size / 10 * 9);
    ::munmap(memory, size);
}

TEST_CASE("The time that the process has computed rises while it computes") {
    const auto before = read_process_usage().cpu_time;
    volatile unsigned work = 0;
    while (read_process_usage().cpu_time <= before) {
        work = work + 1;
    }
    CHECK(read_process_usage().cpu_time > before);
}
