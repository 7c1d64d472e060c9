#include "child/memory_room.hpp"

#include "test_folder.hpp"

#include <catch2/catch_test_macros.hpp>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

using namespace supervisor;

namespace {

constexpr std::uint64_t mebi = 1024 * 1024;

/// Files as the kernel shows them, below a folder of the test's own.
class Kernel {
public:
    void write(const std::string& path, const std::string& text) {
        const auto file = std::filesystem::path{folder_.path()} / path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream{file} << text;
    }
    [[nodiscard]] MemoryRoom memory() const { return MemoryRoom{folder_.path() + "/"}; }

    void version_2(const std::string& group, const std::string& limit, std::uint64_t current, std::uint64_t inactive) {
        const auto folder = "sys/fs/cgroup" + group;
        write(folder + "/memory.max", limit + '\n');
        write(folder + "/memory.current", std::to_string(current) + '\n');
        write(folder + "/memory.stat",
              "anon 4711\nfile 815\ninactive_anon 0\ninactive_file " + std::to_string(inactive) + "\nactive_file 1\n");
    }
    void process(int pid, const std::string& name, int group, int resident_pages) {
        const auto folder = "proc/" + std::to_string(pid);
        write(folder + "/stat", std::to_string(pid) + " (" + name + ") S 1 " + std::to_string(group) + " 7 0 -1\n");
        write(folder + "/statm", "99999 " + std::to_string(resident_pages) + " 20 1 0 30 0\n");
    }

private:
    TestFolder folder_{};
};

}  // namespace

TEST_CASE("A limit of cgroup version 2 leaves what is not used, the cache that is given back not counted as used") {
    Kernel kernel;
    kernel.write("proc/self/cgroup", "0::/\n");
    kernel.version_2("", std::to_string(512 * mebi), 300 * mebi, 50 * mebi);
    CHECK(kernel.memory().left() == 262 * mebi);
}

TEST_CASE("The tightest group of a hierarchy counts") {
    Kernel kernel;
    kernel.write("proc/self/cgroup", "0::/pod/container\n");
    kernel.version_2("/pod/container", "max", 100 * mebi, 0);
    kernel.version_2("/pod", std::to_string(256 * mebi), 200 * mebi, 0);
    CHECK(kernel.memory().left() == 56 * mebi);
}

TEST_CASE("A limit of cgroup version 1 counts, in a container that sees its group at the top") {
    Kernel kernel;
    kernel.write("proc/self/cgroup", "12:cpu,cpuacct:/docker/4711\n7:memory:/docker/4711\n0::/docker/4711\n");
    kernel.write("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(256 * mebi) + "\n");
    kernel.write("sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(250 * mebi) + "\n");
    kernel.write("sys/fs/cgroup/memory/memory.stat",
                 "cache 1\ninactive_file 1\ntotal_inactive_file " + std::to_string(20 * mebi) + "\n");
    CHECK(kernel.memory().left() == 26 * mebi);
}

TEST_CASE("Without a limit the machine's memory counts, which is the instance's on Cloud Run") {
    Kernel kernel;
    CHECK_FALSE(kernel.memory().left().has_value());
    kernel.write("proc/meminfo", "MemTotal:        524288 kB\nMemFree:  1 kB\nMemAvailable:    102400 kB\n");
    CHECK(kernel.memory().left() == 100 * mebi);
}

TEST_CASE("A usage above the limit leaves nothing") {
    Kernel kernel;
    kernel.write("proc/self/cgroup", "0::/\n");
    kernel.version_2("", std::to_string(100 * mebi), 101 * mebi, 0);
    CHECK(kernel.memory().left() == 0);
}

TEST_CASE("A group's memory is that of all of its processes") {
    Kernel kernel;
    kernel.process(100, "gunicorn: (a) b", 100, 1000);
    kernel.process(101, "python", 100, 500);
    kernel.process(102, "other", 102, 7);
    kernel.write("proc/self/cgroup", "");
    CHECK(kernel.memory().used_by_group(100) == 1500 * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
}

TEST_CASE("A second child has room while 1.3 times the first one's memory is left") {
    Kernel kernel;
    const auto pages_of_100_mebi = static_cast<int>(100 * mebi / static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
    kernel.process(100, "uvicorn", 100, pages_of_100_mebi);
    kernel.write("proc/self/cgroup", "0::/\n");
    CHECK_FALSE(no_room_beside(100, kernel.memory()).has_value());
    kernel.version_2("", std::to_string(500 * mebi), 370 * mebi, 0);
    CHECK_FALSE(no_room_beside(100, kernel.memory()).has_value());
    kernel.version_2("", std::to_string(500 * mebi), 371 * mebi, 0);
    CHECK(no_room_beside(100, kernel.memory()) ==
          "129 MiB of memory are left, and 130 MiB are needed, 1.3 times the child's");
}

TEST_CASE("The real kernel tells what is left and what we use") {
    CHECK(MemoryRoom{}.left().value_or(0) > mebi);
    CHECK(MemoryRoom{}.used_by_group(::getpgrp()) > mebi);
}
