#include "child/processes.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace supervisor {
namespace {

/// The parent of a process, the second field behind the name in /proc/PID/stat (proc(5)); 0 if it is gone.
pid_t parent_of(std::string_view pid) {
    const int file = ::open(("/proc/" + std::string{pid} + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return 0;
    }
    std::array<char, 512> buffer{};
    const auto size = ::read(file, buffer.data(), buffer.size());
    ::close(file);
    std::string_view line{buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
    // The name may hold anything, parentheses included, so the fields are counted from its last one.
    const auto name_end = line.rfind(") ");
    pid_t parent = 0;
    if (name_end != std::string_view::npos && line.size() > name_end + 4) {
        std::from_chars(line.data() + name_end + 4, line.data() + line.size(), parent);
    }
    return parent;
}

}  // namespace

std::optional<Fault> become_subreaper() {
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0) {
        return std::nullopt;
    }
    return Fault{std::string{"can't become a subreaper: "} + std::strerror(errno)};
}

bool reap(const std::function<void(pid_t, int)>& ended) {
    for (;;) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            ended(pid, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
        } else if (pid == 0 || errno != EINTR) {
            return pid == 0;
        }
    }
}

std::vector<pid_t> children() {
    std::vector<pid_t> found;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir("/proc"), ::closedir};
    const pid_t self = ::getpid();
    while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
        const std::string_view name{entry->d_name};
        pid_t pid = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (error == std::errc{} && end == name.data() + name.size() && parent_of(name) == self) {
            found.push_back(pid);
        }
    }
    return found;
}

}  // namespace supervisor
