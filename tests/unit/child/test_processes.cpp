#include "child/child_process.hpp"
#include "child/process_group.hpp"
#include "child/processes.hpp"
#include "own_process.hpp"

#include <catch2/catch_test_macros.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>

using namespace supervisor;

namespace {

const Environment environment{{"PATH", "/usr/local/bin:/usr/bin:/bin"}};

pid_t launched(const std::string& script) {
    const auto pid = launch({"sh", "-c", script}, environment);
    REQUIRE(pid.has_value());
    return *pid;
}

/// Waits until the child has ended and leaves it to be reaped.
void await_end(pid_t pid) {
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
}

using Codes = std::map<pid_t, int>;

}  // namespace

TEST_CASE("A group is made only from the number of a process that can be a child") {
    for (const pid_t number : {1, 0, -1, -5}) {
        CHECK_FALSE(ProcessGroup::led_by(number));
    }
    const auto group = ProcessGroup::led_by(2);
    REQUIRE(group);
    CHECK(group->id() == 2);
}

TEST_CASE("A signal reaches every process of the group and no other") {
    const auto pid = launched("sleep 600 & echo; wait");
    const auto other = launched("exec sleep 600");
    const auto group = ProcessGroup::led_by(pid);
    REQUIRE(group);
    CHECK(group->exists());
    CHECK(group->contains(pid));
    CHECK_FALSE(group->contains(other));
    CHECK_FALSE(group->contains(0));
    CHECK_FALSE(group->contains(::getpid()));
    CHECK(group->signal(SIGKILL) == 0);
    CHECK(code_of(pid) == 128 + SIGKILL);
    CHECK(::kill(other, SIGTERM) == 0);
    CHECK(code_of(other) == 128 + SIGTERM);
}

TEST_CASE("A group exists until its last process was reaped") {
    const auto pid = launched("exit 0");
    const auto group = ProcessGroup::led_by(pid);
    REQUIRE(group);
    await_end(pid);
    CHECK(group->exists());
    CHECK(code_of(pid) == 0);
    CHECK_FALSE(group->exists());
    CHECK(group->signal(SIGTERM) == ESRCH);
}

TEST_CASE("Every child that has ended is reaped, and whether one is left is told") {
    // A process of its own has no other children.
    const auto result = in_own_process([] {
        Codes codes;
        const auto note = [&codes](pid_t pid, int code) { codes[pid] = code; };
        if (reap(note) || !codes.empty()) {
            return std::string{"children before the first one"};
        }
        const auto lives = launched("exec sleep 600");
        const auto exits = launched("exit 7");
        const auto dies = launched("kill -TERM $$");
        await_end(exits);
        await_end(dies);
        if (!reap(note) || codes != Codes{{exits, 7}, {dies, 128 + SIGTERM}}) {
            return std::string{"not those that had ended"};
        }
        if (children() != std::vector<pid_t>{lives}) {
            return std::string{"not the one that is left"};
        }
        ::kill(lives, SIGKILL);
        await_end(lives);
        return std::string{reap(note) || codes[lives] != 128 + SIGKILL ? "one is left" : "good"};
    });
    CHECK(result == "good");
}

TEST_CASE("A zombie from before we were started is reaped by the first call") {
    // A process keeps its children over exec; SIGCHLD for this one came before anybody read signals.
    const auto result = in_own_process([] {
        const pid_t inherited = ::fork();
        if (inherited == 0) {
            ::_exit(3);
        }
        await_end(inherited);
        Codes codes;
        const bool left = reap([&codes](pid_t pid, int code) { codes[pid] = code; });
        return std::string{!left && codes == Codes{{inherited, 3}} ? "good" : "not reaped"};
    });
    CHECK(result == "good");
}

TEST_CASE("Orphans become children of a subreaper") {
    const auto result = in_own_process([] {
        if (const auto fault = become_subreaper()) {
            return fault->why;
        }
        const auto parent = launched("sleep 600 & exit 0");
        if (code_of(parent) != 0) {
            return std::string{"the parent failed"};
        }
        const auto orphans = children();
        if (orphans.size() != 1) {
            return std::to_string(orphans.size()) + " orphans";
        }
        ::kill(orphans[0], SIGKILL);
        return std::to_string(code_of(orphans[0]));
    });
    if (result.starts_with("can't become a subreaper")) {
        SKIP(result);
    }
    CHECK(result == "137");
}
