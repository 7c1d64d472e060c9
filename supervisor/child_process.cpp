#include "child_process.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/process/v2/default_launcher.hpp>
#include <boost/process/v2/process.hpp>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

namespace supervisor {
namespace {

namespace process = boost::process::v2;
using boost::system::error_code;

constexpr int not_found = 127;
constexpr int not_executable = 126;
constexpr auto usual_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

LaunchFault fault_of(int error, const std::string& name) {
    return {error == ENOENT ? not_found : not_executable, "can't execute " + name + ": " + std::strerror(error)};
}

bool is_file(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// The file that execvp(3) would take for `name`, which is a path if it has a slash.
boost::system::result<std::string, LaunchFault> find_executable(const std::string& name,
                                                                const Environment& environment) {
    if (name.find('/') != std::string::npos) {
        return name;
    }
    const auto variable = environment.find("PATH");
    std::string_view path = variable != environment.end() ? std::string_view{variable->second} : usual_path;
    bool seen = false;
    while (!name.empty()) {
        const auto end = path.find(':');
        const auto directory = path.substr(0, end);
        auto candidate = (directory.empty() ? "." : std::string{directory}) + '/' + name;
        if (is_file(candidate)) {
            if (::access(candidate.c_str(), X_OK) == 0) {
                return candidate;
            }
            seen = true;
        }
        if (end == std::string_view::npos) {
            break;
        }
        path.remove_prefix(end + 1);
    }
    return seen ? fault_of(EACCES, name) : LaunchFault{not_found, "can't execute " + name + ": not found in PATH"};
}

/// A failure to mark one leaves a descriptor open in the child; it is no reason not to start it.
void close_on_exec_from(unsigned first) {
    if (::syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
        return;
    }
    // Kernels before 5.11 and old sandboxes lack the call or the flag.
    const auto limit = std::min(::sysconf(_SC_OPEN_MAX), 65536L);
    for (int descriptor = static_cast<int>(first); descriptor < limit; ++descriptor) {
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    }
}

/// What Boost.Process calls around the fork. on_exec_setup runs in the child, where nothing may allocate or throw.
struct ChildSetup {
    const char* const* arguments;
    const char* const* environment;

    template <class Launcher>
    error_code on_setup(Launcher& launcher, const std::filesystem::path&, const char* const*& command_line) const {
        // The launcher would name the program by its path; execvp(3), and so every shell, by the word given.
        command_line = arguments;
        launcher.env = environment;
        return {};
    }

    template <class Launcher>
    error_code on_exec_setup(Launcher&, const std::filesystem::path&, const char* const*&) const {
        struct sigaction by_default{};
        by_default.sa_handler = SIG_DFL;
        for (int signal = 1; signal < NSIG; ++signal) {
            ::sigaction(signal, &by_default, nullptr);
        }
        ::setpgid(0, 0);
        if (::isatty(STDIN_FILENO) == 1) {
            // All signals are still blocked, TTOU with them, without which the terminal would stop us here.
            ::tcsetpgrp(STDIN_FILENO, ::getpid());
        }
        // Boost 1.83's own closing misses descriptors, and Asio's are not close-on-exec.
        close_on_exec_from(STDERR_FILENO + 1);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        return {};
    }
};

/// The form that exec wants; valid as long as `lines` is.
std::vector<const char*> as_pointers(const std::vector<std::string>& lines) {
    std::vector<const char*> pointers;
    pointers.reserve(lines.size() + 1);
    for (const auto& line : lines) {
        pointers.push_back(line.c_str());
    }
    pointers.push_back(nullptr);
    return pointers;
}

std::vector<std::string> as_assignments(const Environment& environment) {
    std::vector<std::string> lines;
    lines.reserve(environment.size());
    for (const auto& [name, value] : environment) {
        lines.push_back(name + '=' + value);
    }
    return lines;
}

}  // namespace

boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                 const Environment& environment) {
    const auto executable = find_executable(command.front(), environment);
    if (!executable) {
        return executable.error();
    }
    auto assignments = as_assignments(environment);
    const auto environment_pointers = as_pointers(assignments);
    const auto command_pointers = as_pointers(command);

    // Boost.Process tells the context about the fork, and the copy of our loop in the child would be set up anew there
    // for nothing: this empty context takes the call instead.
    boost::asio::io_context context;
    error_code error;
    auto child =
        process::default_process_launcher{}(context.get_executor(), error, *executable, std::vector<std::string>{},
                                            ChildSetup{command_pointers.data(), environment_pointers.data()});
    // One of the assignments may hold a token.
    for (auto& assignment : assignments) {
        ::explicit_bzero(assignment.data(), assignment.size());
    }
    if (error) {
        return fault_of(error.value(), command.front());
    }
    const pid_t pid = child.id();
    // The reaper is the one owner of waitpid: without this the handle would wait, and kill, on its own.
    child.detach();
    return pid;
}

}  // namespace supervisor
