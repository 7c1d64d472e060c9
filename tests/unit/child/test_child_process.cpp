#include "child/child_process.hpp"

#include "own_process.hpp"
#include "test_folder.hpp"

#include <catch2/catch_test_macros.hpp>
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

using namespace supervisor;

namespace {

const std::string path = "/usr/local/bin:/usr/bin:/bin";
const std::vector<std::string> sleeps{"sleep", "600"};

Environment environment(const TestFolder& folder) { return {{"PATH", path}, {"OUT", folder.path("out")}}; }

/// Runs the script to its end and returns what it wrote to $OUT.
std::string output_of(const std::string& script, const LaunchOptions& options = {}) {
    const TestFolder folder;
    const auto pid = launch({"sh", "-c", script}, environment(folder), options);
    REQUIRE(pid.has_value());
    CHECK(code_of(*pid) == 0);
    return folder.read("out");
}

LaunchFault fault_of(const std::vector<std::string>& command, const Environment& variables = {{"PATH", path}},
                     const LaunchOptions& options = {}) {
    const auto pid = launch(command, variables, options);
    REQUIRE_FALSE(pid.has_value());
    return pid.error();
}

/// Launches in this process, which must have no other child, and returns the outcome in one line. No child is left.
std::string report_of(const std::vector<std::string>& command) {
    const auto pid = launch(command, {{"PATH", path}}, {});
    if (pid) {
        return "code " + std::to_string(code_of(*pid));
    }
    // A child that runs on would make this wait until the time limit of the test.
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    const auto& fault = pid.error();
    return fault.why + "; code " + std::to_string(fault.exit_code()) + (fault.may_pass() ? "; may pass" : "");
}

std::string report_with_refused(std::initializer_list<long> calls, int error, const std::vector<std::string>& command) {
    return in_own_process(
        [&] { return refuse_system_calls(calls, error) ? report_of(command) : std::string{"no filter"}; });
}

/// An emulator of another processor has no seccomp filters and no subreapers. To be called outside of a CHECK, which
/// would take the SKIP for a failure.
void skip_without_filters() {
    const auto filters = in_own_process([] { return refuse_system_calls({}, EPERM) ? "yes" : "no"; });
    if (filters != "yes") {
        SKIP("system calls can't be refused here");
    }
}

}  // namespace

TEST_CASE("The exit code is the program's own") {
    for (const int code : {0, 1, 42, 255}) {
        const auto pid = launch({"sh", "-c", "exit " + std::to_string(code)}, {{"PATH", path}});
        REQUIRE(pid.has_value());
        CHECK(code_of(*pid) == code);
    }
}

TEST_CASE("The program is named by the word given") {
    CHECK(output_of("tr '\\0' ' ' </proc/$$/cmdline | cut -c 1-6 >$OUT") == "sh -c \n");
}

TEST_CASE("The child leads a group of its own by the time that it is launched") {
    const auto pid = launch(sleeps, {{"PATH", path}});
    REQUIRE(pid.has_value());
    CHECK(::getpgid(*pid) == *pid);
    ::kill(*pid, SIGTERM);
    CHECK(code_of(*pid) == 128 + SIGTERM);
}

TEST_CASE("The child's signal mask is empty and every disposition is the default") {
    const TestFolder folder;
    const auto result = in_own_process([&folder] {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        for (const int signal : {SIGPIPE, SIGHUP, SIGTERM, SIGUSR1, SIGRTMIN}) {
            std::signal(signal, SIG_IGN);
        }
        const auto pid =
            launch({"sh", "-c", "exec grep -E '^Sig(Blk|Ign)' /proc/self/status >$OUT"}, environment(folder));
        return pid ? std::to_string(code_of(*pid)) : pid.error().why;
    });
    CHECK(result == "0");
    CHECK(folder.read("out") == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_CASE("The child has the standard descriptors and no other") {
    const TestFolder folder;
    for (const bool close_range_works : {true, false}) {
        const auto result = in_own_process([&] {
            // Neither is close-on-exec, and one is far above the others.
            ::dup2(STDIN_FILENO, 3);
            ::dup2(STDIN_FILENO, 700);
            if (!close_range_works && !refuse_system_calls({SYS_close_range}, ENOSYS)) {
                return std::string{"no filter"};
            }
            const auto pid = launch({"sh", "-c", "exec ls /proc/self/fd >$OUT"}, environment(folder));
            return pid ? std::to_string(code_of(*pid)) : pid.error().why;
        });
        if (result != "no filter") {
            CHECK(result == "0");
            // The last one is that of the listing itself, which takes the first free number.
            CHECK(folder.read("out") == "0\n1\n2\n3\n");
        }
    }
}

TEST_CASE("The child gets a listening socket as descriptor 3, with the variables of systemd, and no other descriptor") {
    const TestFolder folder;
    // The socket may have that number already, or another descriptor may have it, or none: then the pipe of the launch
    // would get it.
    for (const std::string third : {"socket", "other", "free"}) {
        CAPTURE(third);
        const auto result = in_own_process([&] {
            ::close(3);
            const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            const int moved = ::fcntl(socket, F_DUPFD_CLOEXEC, 20);
            if (third != "socket") {
                ::close(socket);
            }
            if (third == "other") {
                ::dup2(STDIN_FILENO, 3);
            }
            Environment variables = environment(folder);
            variables["LISTEN_FDS"] = "7";
            variables["LISTEN_FDNAMES"] = "a:b";
            const LaunchOptions options{.listening_socket = third == "socket" ? socket : moved};
            const auto pid = launch({"sh", "-c",
                                     "{ ls /proc/self/fd; readlink /proc/self/fd/3; echo $LISTEN_FDS "
                                     "$((LISTEN_PID == $$)) $LISTEN_FDNAMES; } >$OUT"},
                                    variables, options);
            return pid ? std::to_string(code_of(*pid)) : pid.error().why;
        });
        CHECK(result == "0");
        // The last descriptor is that of the listing itself, which takes the first free number.
        const auto output = folder.read("out");
        CHECK(output.starts_with("0\n1\n2\n3\n4\nsocket:["));
        CHECK(output.ends_with("]\n1 1\n"));
    }
}

TEST_CASE("A script without #! gets the listening socket too") {
    const TestFolder folder;
    std::ofstream{folder.path("script")} << "echo $LISTEN_FDS $((LISTEN_PID == $$)) >$OUT\n";
    std::filesystem::permissions(folder.path("script"), std::filesystem::perms::owner_all);
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto pid = launch({folder.path("script")}, environment(folder), {.listening_socket = socket});
    REQUIRE(pid.has_value());
    CHECK(code_of(*pid) == 0);
    CHECK(folder.read("out") == "1 1\n");
    ::close(socket);
}

TEST_CASE("The child has the given environment and no other") {
    CHECK(output_of("tr '\\0' '\\n' </proc/$$/environ | cut -d = -f 1 | sort >$OUT") == "OUT\nPATH\n");
}

TEST_CASE("The child starts where we are, or in the given directory") {
    const TestFolder folder;
    CHECK(output_of("pwd -P >$OUT") == std::filesystem::current_path().string() + '\n');
    CHECK(output_of("pwd -P >$OUT", {.directory = folder.path()}) ==
          std::filesystem::canonical(folder.path()).string() + '\n');
}

TEST_CASE("A command and a PATH that are relative are looked up from the child's directory") {
    const TestFolder folder;
    folder.write("bin/tool", "#!/bin/sh\nexit 17\n", 0755);
    const LaunchOptions there{.directory = folder.path()};
    for (const std::string name : {"tool", "bin/tool", "./bin/tool"}) {
        const auto pid = launch({name}, {{"PATH", "bin"}}, there);
        REQUIRE(pid.has_value());
        CHECK(code_of(*pid) == 17);
    }
}

TEST_CASE("A child whose directory is gone starts where we are") {
    CHECK(output_of("pwd -P >$OUT", {.directory = "/no/such/directory"}) ==
          std::filesystem::current_path().string() + '\n');
}

// execvp(3): "If the header of a file isn't recognized (the attempted execve(2) failed with the error ENOEXEC), these
// functions will execute the shell (/bin/sh) with the path of the file as its first argument."
TEST_CASE("A script without an interpreter line is run by the shell") {
    const TestFolder folder;
    const auto script = folder.write("script", "echo \"$0|$1|$2\" >$OUT; exit 6\n", 0755);
    auto variables = environment(folder);
    variables["PATH"] = folder.path() + ':' + path;
    for (const auto& name : {script, std::string{"script"}}) {
        const auto pid = launch({name, "one", "two words"}, variables);
        REQUIRE(pid.has_value());
        CHECK(code_of(*pid) == 6);
        CHECK(folder.read("out") == script + "|one|two words\n");
    }
    const auto pid = launch({"./script", "one"}, variables, {.directory = folder.path()});
    REQUIRE(pid.has_value());
    CHECK(code_of(*pid) == 6);
    CHECK(folder.read("out") == "./script|one|\n");
}

// POSIX, Shell Command Language, 2.9.1: a shell need not run a file that is no text file, and the code is 126 then.
TEST_CASE("A program of another kind is not given to the shell") {
    const TestFolder folder;
    const auto program = folder.write("program",
                                      std::string{"\x7f"
                                                  "ELF\0\0\0\nexit 3\n",
                                                  15},
                                      0755);
    const auto fault = fault_of({program});
    CHECK(fault.stage == LaunchStage::exec);
    CHECK(fault.error == ENOEXEC);
    CHECK(fault.exit_code() == 126);
    CHECK(fault.why == "can't execute " + program + ": Exec format error");
}

TEST_CASE("A command that is not found is 127 and one that can't be executed 126") {
    const TestFolder folder;
    folder.write("plain", "", 0644);
    auto fault = fault_of({"no-such-command"});
    CHECK(fault.stage == LaunchStage::lookup);
    CHECK(fault.exit_code() == 127);
    fault = fault_of({""});
    CHECK(fault.stage == LaunchStage::lookup);
    CHECK(fault.exit_code() == 127);
    fault = fault_of({"/no/such/file"});
    CHECK(fault.stage == LaunchStage::exec);
    CHECK(fault.exit_code() == 127);
    fault = fault_of({folder.path("plain")});
    CHECK(fault.stage == LaunchStage::exec);
    CHECK(fault.exit_code() == 126);
    fault = fault_of({"plain"}, {{"PATH", folder.path()}});
    CHECK(fault.stage == LaunchStage::lookup);
    CHECK(fault.exit_code() == 126);
    CHECK_FALSE(fault.may_pass());
}

TEST_CASE("A user that has no process left can't start, and it may pass") {
    const auto report = in_own_process([] {
        const rlimit none{0, 0};
        // root is exempt (getrlimit(2), RLIMIT_NPROC).
        if (::geteuid() == 0 && (::setgroups(0, nullptr) != 0 || ::setresgid(65534, 65534, 65534) != 0 ||
                                 ::setresuid(65534, 65534, 65534) != 0)) {
            return std::string{"can't change the user"};
        }
        return ::setrlimit(RLIMIT_NPROC, &none) == 0 ? report_of(sleeps) : std::string{"can't limit"};
    });
    CHECK(report == "can't start sleep: fork: Resource temporarily unavailable; code 1; may pass");
}

TEST_CASE("A fork that fails is told apart from exec") {
    skip_without_filters();
    CHECK(report_with_refused({SYS_clone}, EAGAIN, sleeps) ==
          "can't start sleep: fork: Resource temporarily unavailable; code 1; may pass");
    CHECK(report_with_refused({SYS_clone}, ENOMEM, sleeps) ==
          "can't start sleep: fork: Cannot allocate memory; code 1; may pass");
    CHECK(report_with_refused({SYS_clone}, EPERM, sleeps) ==
          "can't start sleep: fork: Operation not permitted; code 1");
    CHECK(report_with_refused({SYS_execve}, ENOMEM, sleeps) ==
          "can't execute sleep: Cannot allocate memory; code 126; may pass");
}

TEST_CASE("A pipe that fails is told apart from fork and exec") {
#ifdef __SANITIZE_ADDRESS__
    SKIP("UBSan's check of an object's type needs a pipe itself");
#endif
    skip_without_filters();
    CHECK(report_with_refused({SYS_pipe2}, EMFILE, sleeps) ==
          "can't start sleep: pipe: Too many open files; code 1; may pass");
}

TEST_CASE("A child without a group of its own is not started, since no signal would reach it") {
    skip_without_filters();
    CHECK(report_with_refused({SYS_setpgid}, EPERM, sleeps) ==
          "can't start sleep: setpgid: Operation not permitted; code 1");
}

TEST_CASE("What older kernels lack and sandboxes forbid is not needed") {
    skip_without_filters();
    const std::vector<std::string> ends{"sh", "-c", "exit 7"};
    for (const int error : {ENOSYS, EPERM}) {
        CHECK(report_with_refused({SYS_pidfd_open, SYS_close_range, SYS_epoll_create1, SYS_eventfd2, SYS_timerfd_create,
                                   SYS_signalfd4, SYS_getrandom},
                                  error, ends) == "code 7");
    }
}

TEST_CASE("The child dies with its parent if it is asked to") {
    // The child becomes ours when its parent, which starts it, has ended.
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        SKIP("there are no subreapers here");
    }
    for (const bool asked : {true, false}) {
        const auto pid = std::stoi(in_own_process([asked] {
            const auto child = launch(sleeps, {{"PATH", path}}, {.die_with_parent = asked});
            return child ? std::to_string(*child) : child.error().why;
        }));
        if (!asked) {
            // KILL would have been sent before the parent could be waited for.
            ::kill(pid, SIGTERM);
        }
        CHECK(code_of(pid) == 128 + (asked ? SIGKILL : SIGTERM));
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}
