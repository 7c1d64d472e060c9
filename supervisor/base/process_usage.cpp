#include "base/process_usage.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <memory>

namespace supervisor {
namespace {

/// The sizes in pages are the first two fields of /proc/self/statm (proc(5)): all, and what is in memory.
void read_memory(ProcessUsage& usage) {
    const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return;
    }
    std::array<char, 128> text{};
    const auto size = ::read(file, text.data(), text.size());
    ::close(file);
    const auto* const end = text.data() + std::max<ssize_t>(size, 0);
    std::uint64_t total = 0;
    std::uint64_t resident = 0;
    const auto first = std::from_chars(text.data(), end, total);
    if (first.ec != std::errc{} || first.ptr == end ||
        std::from_chars(first.ptr + 1, end, resident).ec != std::errc{}) {
        return;
    }
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    usage.virtual_memory = total * page;
    usage.resident_memory = resident * page;
}

/// The descriptor by which the folder is read is not counted.
std::optional<std::uint64_t> open_descriptors() {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir("/proc/self/fd"), ::closedir};
    if (!directory) {
        return std::nullopt;
    }
    std::uint64_t count = 0;
    while (const dirent* entry = ::readdir(directory.get())) {
        count += entry->d_name[0] != '.' ? 1U : 0U;
    }
    return count - std::min<std::uint64_t>(count, 1);
}

}  // namespace

std::optional<std::uint64_t> descriptor_limit() {
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? std::optional{limit.rlim_cur} : std::nullopt;
}

ProcessUsage read_process_usage() {
    ProcessUsage usage;
    timespec time{};
    if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0) {
        usage.cpu_time = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::seconds{time.tv_sec} +
                                                                               std::chrono::nanoseconds{time.tv_nsec});
    }
    read_memory(usage);
    usage.open_descriptors = open_descriptors();
    if (const auto limit = descriptor_limit(); limit != RLIM_INFINITY) {
        usage.most_descriptors = limit;
    }
    return usage;
}

}  // namespace supervisor
