#include "child/child_process.hpp"

#include "child/inherited_socket.hpp"

#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/process/v2/posix/default_launcher.hpp>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

namespace supervisor {
namespace {

namespace asio = boost::asio;
namespace process = boost::process::v2;
using boost::system::error_code;

constexpr auto usual_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr auto shell = "/bin/sh";

/// The launcher asks for an executor, in order to tell its context about the fork. The copy of our loop in the child
/// would be set up again there for no purpose, so this one belongs to a context that has no services.
class NoLoop {
public:
    explicit NoLoop(asio::execution_context& context) noexcept : context_(&context) {}

    [[nodiscard]] asio::execution_context& query(asio::execution::context_t) const noexcept { return *context_; }
    template <class Function>
    void execute(Function&& function) const {
        std::forward<Function>(function)();
    }
    bool operator==(const NoLoop&) const noexcept = default;

private:
    asio::execution_context* context_;
};

}  // namespace
}  // namespace supervisor

/// The handle that the launcher returns. Boost's own would wait for the child and kill it on its own, and its making
/// can throw after the fork: by pidfd_open(2), which kernels before 5.3 lack, by the descriptors of a loop, or by
/// those of a signal set. This one stores nothing: the pid is read from the launcher.
template <>
struct boost::process::v2::basic_process<supervisor::NoLoop> {
    explicit basic_process(const supervisor::NoLoop&) noexcept {}
    basic_process(const supervisor::NoLoop&, pid_t) noexcept {}
};

namespace supervisor {
namespace {

/// What the new process does before exec and what may fail there. The launcher hands its errno alone to the parent, as
/// an int; the step is put above it, where no errno is (include/linux/err.h: MAX_ERRNO is 4095).
enum class SetupStep { none, group, socket };
constexpr int step_unit = 4096;

LaunchFault cannot_execute(LaunchStage stage, int error, const std::string& name) {
    return LaunchFault{stage, error, "can't execute " + name + ": " + std::strerror(error)};
}

LaunchFault cannot_start(LaunchStage stage, int error, const std::string& name, const std::string& step) {
    return LaunchFault{stage, error, "can't start " + name + ": " + step + ": " + std::strerror(error)};
}

/// `path` as the child will see it from `directory`.
std::string seen_from(const std::string& directory, const std::string& path) {
    return directory.empty() || path.starts_with('/') ? path : directory + '/' + path;
}

bool is_file(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// Whether a shell would read the file as a script: its first line has no NUL (POSIX, Shell Command Language, 2.9.1;
/// bash looks at the first 80 bytes). So a program for another processor is not given to the shell.
bool is_text(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        return false;
    }
    std::array<char, 80> buffer{};
    const auto size = ::read(file, buffer.data(), buffer.size());
    ::close(file);
    if (size < 0) {
        return false;
    }
    const std::string_view start{buffer.data(), static_cast<std::size_t>(size)};
    return start.substr(0, start.find('\n')).find('\0') == std::string_view::npos;
}

/// The file that execvp(3) would take for `name`, which is a path if it has a slash.
boost::system::result<std::string, LaunchFault> find_executable(const std::string& name, const Environment& environment,
                                                                const std::string& directory) {
    if (name.find('/') != std::string::npos) {
        return name;
    }
    const auto variable = environment.find("PATH");
    std::string_view path = variable != environment.end() ? std::string_view{variable->second} : usual_path;
    bool seen = false;
    while (!name.empty()) {
        const auto end = path.find(':');
        const auto folder = path.substr(0, end);
        auto candidate = (folder.empty() ? "." : std::string{folder}) + '/' + name;
        const auto place = seen_from(directory, candidate);
        if (is_file(place)) {
            if (::access(place.c_str(), X_OK) == 0) {
                return candidate;
            }
            seen = true;
        }
        if (end == std::string_view::npos) {
            break;
        }
        path.remove_prefix(end + 1);
    }
    return seen ? cannot_execute(LaunchStage::lookup, EACCES, name)
                : LaunchFault{LaunchStage::lookup, ENOENT, "can't execute " + name + ": not found in PATH"};
}

/// A descriptor that can't be marked stays open in the child, which is no reason not to start it.
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

/// What Boost.Process calls around the fork. The parts that run in the child must neither allocate nor throw.
class ChildSetup {
public:
    /// `own_pid` is the place in the environment for the child's number, or null.
    ChildSetup(const char* const* arguments, const char* const* environment, char* own_pid,
               const LaunchOptions& options)
        : arguments_(arguments), environment_(environment), own_pid_(own_pid), options_(options), parent_(::getpid()) {}

    /// Whether the launcher reached the fork.
    [[nodiscard]] bool pipe_made() const { return pipe_made_; }

    template <class Launcher>
    error_code on_setup(Launcher& launcher, const std::filesystem::path&, const char* const*& command_line) {
        pipe_made_ = true;
        // The launcher would name the program by its path; execvp(3), and so every shell, by the word given.
        command_line = arguments_;
        launcher.env = environment_;
        return {};
    }

    template <class Launcher>
    error_code on_exec_setup(Launcher&, const std::filesystem::path&, const char* const*&) const {
        if (options_.die_with_parent) {
            // A kernel or a sandbox without it leaves the child as it would be without the option.
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            // It does not cover a parent that ended before the call (prctl(2)); the new parent has another number.
            if (::getppid() != parent_) {
                ::_exit(EXIT_FAILURE);
            }
        }
        struct sigaction by_default{};
        by_default.sa_handler = SIG_DFL;
        for (int signal = 1; signal < NSIG; ++signal) {
            ::sigaction(signal, &by_default, nullptr);
        }
        if (::setpgid(0, 0) != 0) {
            // Without a group of its own no signal of ours would reach it.
            return step_failed(SetupStep::group);
        }
        if (::isatty(STDIN_FILENO) == 1) {
            // All signals are still blocked, TTOU with them, without which the terminal would stop us here.
            ::tcsetpgrp(STDIN_FILENO, ::getpid());
        }
        // If the directory was removed, the child starts where we are: a service must not end for that.
        if (!options_.directory.empty() && ::chdir(options_.directory.c_str()) != 0) {
            errno = 0;
        }
        int first_closed = STDERR_FILENO + 1;
        if (options_.listening_socket) {
            if (!inherit(*options_.listening_socket, own_pid_)) {
                return step_failed(SetupStep::socket);
            }
            first_closed = inherited_descriptor + 1;
        }
        // Boost 1.83's own closing misses descriptors, and Asio's are not close-on-exec.
        close_on_exec_from(static_cast<unsigned>(first_closed));
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        return {};
    }

    /// Boost 1.83 looks for the first of these two and calls the second, after it has told the parent. Its exit(3)
    /// would run what our program does at its own end.
    template <class Launcher>
    void on_exec_error(Launcher&, const error_code&, const std::filesystem::path&, const char* const*&,
                       const error_code&) const {}
    template <class Launcher>
    void on_exec_error(Launcher&, const std::filesystem::path&, const char* const*&, const error_code&) const {
        ::_exit(EXIT_FAILURE);
    }

private:
    /// The launcher sends errno, not the code returned.
    static error_code step_failed(SetupStep step) {
        errno += static_cast<int>(step) * step_unit;
        return {errno, boost::system::system_category()};
    }

    const char* const* arguments_;
    const char* const* environment_;
    char* own_pid_;
    const LaunchOptions& options_;
    pid_t parent_;
    bool pipe_made_ = false;
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

/// Whatever way a launch fails or throws after the fork, its process does not live on. It was not reaped, so that the
/// number is still its own.
class KillUnlessStarted {
public:
    explicit KillUnlessStarted(const int& pid) : pid_(pid) {}
    KillUnlessStarted(const KillUnlessStarted&) = delete;
    KillUnlessStarted& operator=(const KillUnlessStarted&) = delete;
    ~KillUnlessStarted() {
        if (!started_ && pid_ > 0) {
            ::kill(pid_, SIGKILL);
        }
    }
    void started() { started_ = true; }

private:
    const int& pid_;
    bool started_ = false;
};

/// Forks and executes `file` with these arguments, which name the program too.
boost::system::result<pid_t, LaunchFault> execute(const std::string& name, const std::string& file,
                                                  const std::vector<std::string>& arguments,
                                                  const char* const* environment, char* own_pid,
                                                  const LaunchOptions& options) {
    const auto pointers = as_pointers(arguments);
    ChildSetup setup{pointers.data(), environment, own_pid, options};
    asio::execution_context context;
    process::posix::default_launcher launcher;
    error_code error;
    KillUnlessStarted guard{launcher.pid};
    launcher(NoLoop{context}, error, file, std::vector<std::string>{}, setup);
    if (!error) {
        guard.started();
        return launcher.pid;
    }
    if (!setup.pipe_made()) {
        return cannot_start(LaunchStage::pipe, error.value(), name, "pipe");
    }
    if (launcher.pid < 0) {
        return cannot_start(LaunchStage::fork, error.value(), name, "fork");
    }
    const int reason = error.value() % step_unit;
    switch (static_cast<SetupStep>(error.value() / step_unit)) {
        case SetupStep::group: return cannot_start(LaunchStage::setup, reason, name, "setpgid");
        case SetupStep::socket: return cannot_start(LaunchStage::setup, reason, name, "dup2 of the listening socket");
        case SetupStep::none: break;
    }
    return cannot_execute(LaunchStage::exec, reason, name);
}

}  // namespace

int LaunchFault::exit_code() const {
    constexpr int not_found = 127;
    constexpr int not_executable = 126;
    if (stage != LaunchStage::lookup && stage != LaunchStage::exec) {
        return 1;
    }
    return error == ENOENT ? not_found : not_executable;
}

bool LaunchFault::may_pass() const { return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE; }

boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                 const Environment& environment, const LaunchOptions& options) {
    const auto& name = command.front();
    const auto file = find_executable(name, environment, options.directory);
    if (!file) {
        return file.error();
    }
    auto assignments = as_assignments(environment);
    char* own_pid = nullptr;
    if (options.listening_socket) {
        own_pid = add_listen_variables(assignments);
    }
    const auto environment_pointers = as_pointers(assignments);
    const ReservedDescriptor reserved{options.listening_socket};

    auto child = execute(name, *file, command, environment_pointers.data(), own_pid, options);
    if (!child && child.error().stage == LaunchStage::exec && child.error().error == ENOEXEC &&
        is_text(seen_from(options.directory, *file))) {
        // As execvp(3) does: the shell is named by its path, then come the file and the arguments.
        std::vector<std::string> by_shell{shell, *file};
        by_shell.insert(by_shell.end(), command.begin() + 1, command.end());
        auto script = execute(name, shell, by_shell, environment_pointers.data(), own_pid, options);
        // If there is no shell, the kernel's answer about the file is the better one.
        if (script || script.error().stage != LaunchStage::exec) {
            child = std::move(script);
        }
    }
    // One of the assignments may hold a token.
    for (auto& assignment : assignments) {
        ::explicit_bzero(assignment.data(), assignment.size());
    }
    return child;
}

}  // namespace supervisor
