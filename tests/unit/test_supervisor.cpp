#include "supervisor.hpp"

#include "simulated/captured_log.hpp"
#include "simulated/process_calls.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <catch2/catch_test_macros.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
using simulated::CapturedLog;

namespace {

Settings settings_for(RotationMode mode) {
    Settings settings;
    settings.rotation = mode;
    settings.database = {.user = "sa@project.iam", .host = "10.0.0.5", .name = "prefect"};
    settings.command = {"prefect"};
    settings.health_address.reset();
    settings.ready_url = "http://127.0.0.1:8080/api/health";
    return settings;
}

/// The real Supervisor on a real loop, over simulated processes, a simulated clock and a simulated network that answers
/// each request from the loop: the metadata server with `token`, the child with `ready`.
class Run {
public:
    explicit Run(Settings settings = settings_for(RotationMode::restart))
        : supervisor(loop, std::move(settings), {}, log.log(),
                     {.get = [this](HttpRequest request, HttpDone done) { ask(std::move(request), std::move(done)); },
                      .processes = processes,
                      .clock = [this] { return now; }}) {}

    /// Runs to the end; `script` is performed step by step, each from the loop when everything before it is done.
    int run(std::vector<std::function<void()>> script) {
        steps_ = std::move(script);
        next_step();
        return supervisor.run();
    }
    /// Lets time pass until the probe has nothing more to do at that time. A probe makes the supervisor look at its clocks.
    void pass(milliseconds length) {
        now = now + length;
        supervisor.on_probe("/livez");
    }
    std::string text_at(std::string_view path) { return supervisor.on_probe(path).body; }
    unsigned probe(std::string_view path) { return supervisor.on_probe(path).status; }
    /// Whether /metrics has this line, without the prefix of our metrics.
    bool metric(const std::string& line) {
        return text_at("/metrics").find("\nprefect_supervisor_" + line + '\n') != std::string::npos;
    }
    bool logged(const std::string& text) {
        for (auto& line : log.lines()) {
            lines_.push_back(std::move(line));
        }
        return std::any_of(lines_.begin(), lines_.end(),
                           [&text](const auto& line) { return line.find(text) != std::string::npos; });
    }
    /// The hand-over in place of another token fails, until the folder that it returns is removed: it is where the next
    /// password file would be written.
    std::string obstruct_hand_over() {
        const auto folder = processes.launched.back().at("PGPASSFILE") + ".next";
        REQUIRE(::mkdir(folder.c_str(), 0700) == 0);
        token = "ya29.two";
        pass(55min);
        return folder;
    }
    [[nodiscard]] std::string last_url() const {
        return processes.launched.back().at("PREFECT_API_DATABASE_CONNECTION_URL");
    }

    boost::asio::io_context loop{};
    Moment now{1'795'000'000'000ms, 4'711'000ms};
    CapturedLog log{};
    simulated::ProcessCalls processes{};
    std::string token = "ya29.one";
    bool metadata_answers = true;
    std::optional<std::chrono::seconds> retry_after{};  ///< of the metadata server's refusals
    bool ready = true;
    bool database_answers = true;
    unsigned token_requests = 0;
    Supervisor supervisor;

private:
    /// Steps are far apart in the queue, so that the answers to what one step asked for come before the next step.
    void next_step() {
        if (steps_.empty()) {
            return;
        }
        later(20, [this] {
            auto step = std::move(steps_.front());
            steps_.erase(steps_.begin());
            next_step();
            step();
        });
    }
    void later(int rounds, std::function<void()> action) {
        boost::asio::post(
            loop, [this, rounds, action = std::move(action)] { rounds == 0 ? action() : later(rounds - 1, action); });
    }
    void ask(HttpRequest request, HttpDone done) {
        const bool for_token = request.url.find("service-accounts") != std::string::npos;
        token_requests += for_token ? 1U : 0U;
        if (request.connect_only) {
            boost::asio::post(loop, [this, done = std::move(done)] {
                done(database_answers ? Result<HttpAnswer>{HttpAnswer{}} : Fault{"no route to the database"});
            });
            return;
        }
        boost::asio::post(loop, [this, for_token, done = std::move(done)] {
            if (for_token && metadata_answers) {
                done(HttpAnswer{.status = 200,
                                .body = R"({"access_token":")" + token + R"(","expires_in":3600})",
                                .headers = {{"Metadata-Flavor", "Google"}}});
            } else if (!for_token && ready) {
                done(HttpAnswer{.status = 200, .body = "true"});
            } else if (for_token && retry_after) {
                done(HttpAnswer{.status = 503, .body = {}, .retry_after = retry_after});
            } else {
                done(Fault{"Connection refused"});
            }
        });
    }

    std::vector<std::function<void()>> steps_{};
    std::vector<std::string> lines_{};
};

}  // namespace

TEST_CASE("The first token starts the child, and a stop ends it with its code") {
    Run test;
    const int code = test.run({
        [&] {
            CHECK(test.processes.launched.size() == 1);
            CHECK(test.last_url().find(":ya29.one@") != std::string::npos);
            CHECK(test.probe("/livez") == 200);
            CHECK(test.probe("/startupz") == 503);
        },
        [&] { test.pass(500ms); },
        [&] {
            CHECK(test.probe("/startupz") == 200);
            CHECK(test.probe("/readyz") == 200);
        },
        [&] { test.supervisor.on_signal(SIGTERM); },
    });
    CHECK(code == 143);
    CHECK(test.logged("stop: asked to end, forwarding signal=15"));
    CHECK(test.logged("stopped code=143"));
}

TEST_CASE("A fresh token restarts the child with it, or reaches it in place, by the mode") {
    for (const auto mode : {RotationMode::restart, RotationMode::in_place}) {
        Run test{settings_for(mode)};
        test.run({
            [&] {
                test.token = "ya29.two";
                test.pass(55min);
            },
            [&] { test.pass(1s); },
            [&] {
                const bool restarts = mode == RotationMode::restart;
                CHECK(test.processes.launched.size() == (restarts ? 2 : 1));
                CHECK((test.last_url().find("ya29.two") != std::string::npos) == restarts);
                CHECK(test.logged("fresh token handed over in place") != restarts);
                CHECK(test.supervisor.on_probe("/status").body.find("\"rotations\": 1") != std::string::npos);
            },
            [&] { test.supervisor.on_signal(SIGTERM); },
        });
    }
}

TEST_CASE("With rolling rotation the old child serves until the next one listens, and probes see no gap") {
    Run test{settings_for(RotationMode::rolling)};
    const auto pid_of = [&test] {
        const auto text = test.text_at("/status");
        return text.substr(text.find("\"pid\""), 12);
    };
    std::string first;
    test.run({
        [&] {
            test.processes.listen(100);
            test.pass(500ms);
        },
        [&] {
            CHECK(test.probe("/readyz") == 200);
            first = pid_of();
            test.token = "ya29.two";
            for (int i = 0; i < 55 * 6; ++i) {
                test.pass(10s);
            }
        },
        [&] { test.pass(5s); },
        [&] {
            REQUIRE(test.processes.launched.size() == 2);
            CHECK(test.last_url().find("ya29.two") != std::string::npos);
            CHECK(test.text_at("/status").find(R"("rotations": 0)") != std::string::npos);
            CHECK(pid_of() == first);
            CHECK(test.probe("/readyz") == 200);
            test.processes.listen(101);
            test.pass(50ms);
            CHECK(test.probe("/readyz") == 200);
            CHECK(pid_of() != first);
            CHECK(test.text_at("/status").find(R"("rotations": 1)") != std::string::npos);
            CHECK(test.text_at("/status").find(R"("restarts": 1)") != std::string::npos);
            test.pass(10ms);
            test.pass(1s);
            CHECK_FALSE(test.processes.runs(100));
            CHECK(test.probe("/livez") == 200);
        },
        [&] { test.supervisor.on_signal(SIGTERM); },
    });
    CHECK(test.logged("INFO rotation: new connections go to the next child"));
    CHECK(test.logged("stopped code=143"));
    CHECK_FALSE(test.processes.any_runs());
}

TEST_CASE("The metrics count what happens to the token and the child in a restart") {
    Run test;
    test.run({
        [&] {
            CHECK(test.metric(R"(token_refresh_total{result="fresh"} 1)"));
            CHECK(test.metric("token_expiry_timestamp_seconds 1795003600"));
            CHECK(test.metric("child_up 1"));
            CHECK(test.metric("child_ready 0"));
            CHECK(test.metric("child_start_duration_seconds_count 0"));
            test.pass(500ms);
        },
        [&] {
            CHECK(test.metric("child_ready 1"));
            CHECK(test.metric("child_start_duration_seconds_count 1"));
            CHECK(test.metric("child_start_duration_seconds_sum 0.5"));
            test.metadata_answers = false;
            test.pass(55min);
        },
        [&] {
            CHECK(test.metric(R"(token_refresh_total{result="failed"} 1)"));
            test.metadata_answers = true;
            test.pass(2s);
        },
        [&] {
            CHECK(test.metric(R"(token_refresh_total{result="stale"} 1)"));
            test.token = "ya29.two";
            test.pass(2min);
        },
        [&] { test.pass(1s); },
        [&] {
            CHECK(test.metric(R"(token_refresh_total{result="fresh"} 2)"));
            CHECK(test.metric("token_refresh_duration_seconds_count 4"));
            CHECK(test.metric(R"(rotations_total{mode="restart",result="success"} 1)"));
            CHECK(test.metric("child_restarts_total 1"));
            CHECK(test.metric("child_drain_duration_seconds_count 1"));
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("The metrics tell a rolling rotation from a restart in its place, and count a next child that fails") {
    Run test{settings_for(RotationMode::rolling)};
    const auto pass_an_hour = [&test] {
        for (int i = 0; i < 55 * 6 + 1; ++i) {
            test.pass(10s);
        }
    };
    test.run({
        [&] {
            test.processes.listen(100);
            test.token = "ya29.two";
            pass_an_hour();
        },
        [&] {
            REQUIRE(test.processes.launched.size() == 2);
            test.processes.end(101, 1);
            test.pass(1s);
            CHECK(test.metric(R"(rotations_total{mode="rolling",result="failed"} 1)"));
            CHECK(test.metric(R"(rotations_total{mode="rolling",result="success"} 0)"));
            test.pass(30s);
            REQUIRE(test.processes.launched.size() == 3);
            test.pass(3s);
            test.processes.listen(102);
            test.pass(50ms);
            CHECK(test.metric(R"(rotations_total{mode="rolling",result="success"} 1)"));
            CHECK(test.metric("child_start_duration_seconds_count 2"));
            test.pass(10s);
            test.pass(10s);
            CHECK(test.metric("child_drain_duration_seconds_count 1"));
            test.processes.no_room = "40 MiB of memory are left";
            test.token = "ya29.three";
            pass_an_hour();
        },
        [&] { test.pass(1s); },
        [&] {
            CHECK(test.metric(R"(rotations_total{mode="rolling",result="success"} 1)"));
            CHECK(test.metric(R"(rotations_total{mode="rolling",result="fallback"} 1)"));
            CHECK(test.metric(R"(rotations_total{mode="rolling",result="failed"} 1)"));
            CHECK(test.metric("child_restarts_total 2"));
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("The metrics count hand-overs in place, also those that fail") {
    Run test{settings_for(RotationMode::in_place)};
    std::string obstacle;
    test.run({
        [&] { obstacle = test.obstruct_hand_over(); },
        [&] {
            CHECK(test.metric(R"(rotations_total{mode="in-place",result="failed"} 1)"));
            // The child still works with the old one.
            CHECK(test.metric("token_expiry_timestamp_seconds 1795003600"));
            ::rmdir(obstacle.c_str());
            test.pass(1s);
            CHECK(test.metric(R"(rotations_total{mode="in-place",result="success"} 1)"));
            CHECK(test.metric("token_expiry_timestamp_seconds 1795006900"));
            CHECK(test.metric("child_drain_duration_seconds_count 0"));
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("Without a readiness question a child's start is not measured") {
    auto settings = settings_for(RotationMode::restart);
    settings.ready_url.reset();
    Run test{settings};
    test.run({
        [&] {
            test.pass(1s);
            CHECK(test.metric("child_ready 1"));
            CHECK(test.metric("child_start_duration_seconds_count 0"));
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("A long silence of the loop is a freeze, after which the token is looked at") {
    Run test;
    test.run({
        [&] {
            test.metadata_answers = false;
            test.retry_after = 300s;
            test.pass(56min);
        },
        [&] {
            CHECK(test.logged("init: frozen for a while ms=3360000"));
            test.metadata_answers = true;
            test.token = "ya29.two";
            test.pass(36s);
        },
        [&] {
            CHECK(test.processes.launched.size() == 2);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("After a freeze no child is started with a token that has expired meanwhile") {
    for (const auto mode : {RotationMode::restart, RotationMode::rolling}) {
        auto settings = settings_for(mode);
        settings.refresh_interval = 10s;
        Run test{settings};
        test.run({
            [&] {
                test.token = "ya29.two";
                test.pass(10s);
            },
            [&] {
                CHECK(test.logged("rotation: held back, the child started a moment ago"));
                test.metadata_answers = false;
                test.pass(61min);
            },
            [&] {
                CHECK(test.processes.launched.size() == 1);
                CHECK(test.logged("rotation: held back, the newest token has expired"));
                test.metadata_answers = true;
                test.token = "ya29.three";
                test.pass(36s);
            },
            [&] {
                REQUIRE(test.processes.launched.size() == 2);
                CHECK(test.last_url().find(":ya29.three@") != std::string::npos);
                test.supervisor.on_signal(SIGTERM);
            },
        });
    }
}

TEST_CASE("A child that is started after a freeze in a drain gets the token that comes after it") {
    Run test;
    test.processes.next_obeys_term = false;
    test.run({
        [&] {
            test.token = "ya29.two";
            test.pass(55min);
        },
        [&] {
            CHECK(test.logged("rotation: draining the child"));
            test.token = "ya29.three";
            test.processes.next_obeys_term = true;
            test.processes.end(test.processes.alive.begin()->first, 0);
            test.pass(61min);
        },
        [&] {
            CHECK(test.logged("rotation: the next child waits for a fresh token, the newest one has expired"));
            REQUIRE(test.processes.launched.size() == 2);
            CHECK(test.last_url().find(":ya29.three@") != std::string::npos);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("A first child that waited for the database in a freeze gets the token that comes after it") {
    Run test;
    test.database_answers = false;
    test.run({
        [&] {
            CHECK(test.processes.launched.empty());
            test.database_answers = true;
            test.metadata_answers = false;
            // The freeze stopped CLOCK_BOOTTIME too, as gVisor does, and the database is asked first.
            test.now.wall += 61min;
            test.pass(5s);
        },
        [&] {
            CHECK(test.processes.launched.empty());
            test.metadata_answers = true;
            test.token = "ya29.two";
            test.pass(36s);
        },
        [&] {
            REQUIRE(test.processes.launched.size() == 1);
            CHECK(test.last_url().find(":ya29.two@") != std::string::npos);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("A first child that waited for the database starts when an answer corrects the token's expiry") {
    Run test;
    test.database_answers = false;
    test.run({
        [&] {
            test.database_answers = true;
            // A step of the wall clock, after which the metadata server gives out the same token.
            test.now.wall += 61min;
            test.pass(5s);
        },
        [&] {
            CHECK(test.processes.launched.size() == 1);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("No token within the start deadline is exit 1") {
    Run test;
    test.metadata_answers = false;
    const int code = test.run({[&] { test.pass(60s); }});
    CHECK(code == 1);
    CHECK(test.processes.launched.empty());
    CHECK(test.logged("token: none within the start deadline of 1m: Connection refused"));
}

TEST_CASE("The first child waits until the database takes a connection, and then starts once") {
    Run test;
    test.database_answers = false;
    test.run({
        [&] {
            CHECK(test.logged("token: fresh one in hand"));
            CHECK(test.processes.launched.empty());
            for (const auto* path : {"/startupz", "/livez", "/readyz"}) {
                CHECK(test.probe(path) == 503);
                CHECK(test.text_at(path).ends_with("waiting for the database: no route to the database\n"));
            }
            CHECK(test.text_at("/status").find(R"("state": "waiting for the database")") != std::string::npos);
            CHECK(test.text_at("/status").find(R"("last_error": "no route to the database")") != std::string::npos);
            test.pass(500ms);
        },
        [&] {
            test.database_answers = true;
            test.pass(1s);
        },
        [&] {
            CHECK(test.processes.launched.size() == 1);
            CHECK(test.probe("/livez") == 200);
            CHECK(test.text_at("/startupz") == "the first child has not answered yet\n");
            CHECK(test.text_at("/status").find(R"("last_error": null)") != std::string::npos);
            test.supervisor.on_signal(SIGTERM);
        },
    });
    CHECK(test.logged("INFO database: takes connections address=10.0.0.5:5432 after_ms=1500 tries=3"));
}

TEST_CASE("A database that answers before the first token does not start the child") {
    Run test;
    test.metadata_answers = false;
    test.run({
        [&] {
            CHECK(test.processes.launched.empty());
            CHECK(test.text_at("/livez") == "no child runs: waiting for the first token\n");
            test.metadata_answers = true;
            test.pass(2s);
        },
        [&] {
            CHECK(test.processes.launched.size() == 1);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("A child that waited for the database gets the token that is the newest by then") {
    auto settings = settings_for(RotationMode::restart);
    settings.refresh_interval = 10s;
    Run test{settings};
    test.database_answers = false;
    test.run({
        [&] {
            test.token = "ya29.two";
            test.pass(10s);
        },
        [&] {
            CHECK(test.token_requests == 2);
            CHECK(test.processes.launched.empty());
            test.database_answers = true;
            test.pass(5s);
        },
        [&] {
            CHECK(test.processes.launched.size() == 1);
            CHECK(test.last_url().find(":ya29.two@") != std::string::npos);
            CHECK(test.text_at("/status").find(R"("rotations": 0)") != std::string::npos);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("A database that stays away is exit 1, which no --map-exit turns into success") {
    auto settings = settings_for(RotationMode::restart);
    settings.mapped_exit_codes = {1};
    Run test{settings};
    test.database_answers = false;
    CHECK(test.run({[&] { test.pass(2min); }}) == 1);
    CHECK(test.processes.launched.empty());
    CHECK(
        test.logged("ERROR database: 10.0.0.5:5432 can't be reached within 2m (--db-wait): no route to the database"));
}

TEST_CASE("A stop while the child waits for the database ends at once, and nothing was started") {
    Run test;
    test.database_answers = false;
    CHECK(test.run({[&] { test.supervisor.on_signal(SIGTERM); }}) == 143);
    CHECK(test.processes.launched.empty());
}

TEST_CASE("Without the wait the database is not asked") {
    auto settings = settings_for(RotationMode::restart);
    settings.db_wait.reset();
    Run test{settings};
    test.database_answers = false;
    test.run({
        [&] {
            CHECK(test.processes.launched.size() == 1);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("A stop asks for no more tokens") {
    auto settings = settings_for(RotationMode::restart);
    settings.refresh_interval = 1s;
    Run test{settings};
    test.processes.next_obeys_term = false;
    test.run({
        [&] { test.supervisor.on_signal(SIGTERM); },
        [&] { test.pass(7s); },
        [&] {
            CHECK(test.token_requests == 1);
            CHECK(test.probe("/readyz") == 503);
            test.pass(1s);
        },
    });
}

TEST_CASE("The last error of a hand-over does not outlive the hand-over that works") {
    // With a single writer of the last error this one stayed in /status for ever.
    Run test{settings_for(RotationMode::in_place)};
    std::string obstacle;
    test.run({
        [&] { obstacle = test.obstruct_hand_over(); },
        [&] {
            CHECK(test.supervisor.on_probe("/status").body.find("can't create the password file") != std::string::npos);
            ::rmdir(obstacle.c_str());
            test.pass(1s);
            CHECK(test.supervisor.on_probe("/status").body.find("\"last_error\": null") != std::string::npos);
            test.supervisor.on_signal(SIGTERM);
        },
    });
}

TEST_CASE("An exception in the loop ends the child first, and the exit code is 1") {
    Run test;
    const int code = test.run({
        [] { throw std::runtime_error{"epoll_ctl: Cannot allocate memory"}; },
    });
    CHECK(code == 1);
    CHECK_FALSE(test.processes.any_runs());
    CHECK(test.logged("ERROR init: failed: epoll_ctl: Cannot allocate memory; ending the child"));
    CHECK(test.logged("stopped code=1"));
}

TEST_CASE("A second exception while the child is ended kills it at once") {
    Run test;
    test.processes.next_obeys_term = false;
    const int code = test.run({
        [] { throw std::runtime_error{"no memory"}; },
        [] { throw std::runtime_error{"still no memory"}; },
    });
    CHECK(code == 1);
    CHECK_FALSE(test.processes.any_runs());
    CHECK(test.logged("ERROR init: failed while ending the child, killing it: still no memory"));
}

TEST_CASE("An exception on the way to a stop does not take the stop its timeout") {
    Run test;
    test.processes.next_obeys_term = false;
    // The signal to the group is what fails, before the deadline of the stop is set.
    bool failed = false;
    test.processes.on_group_signal = [&](int signal) {
        if (signal == SIGTERM && !std::exchange(failed, true)) {
            throw std::bad_alloc{};
        }
    };
    const int code = test.run({
        [&] { test.supervisor.on_signal(SIGTERM); },
        [&] { test.pass(9s); },
        [&] { test.pass(9s); },
        [&] { test.pass(9s); },
    });
    CHECK(code == 1);
    CHECK_FALSE(test.processes.any_runs());
}

TEST_CASE("No first token is never mapped to success, a command that is not found is") {
    auto settings = settings_for(RotationMode::restart);
    settings.mapped_exit_codes = {1, 127};
    Run no_token{settings};
    no_token.metadata_answers = false;
    CHECK(no_token.run({[&] { no_token.pass(60s); }}) == 1);
    Run no_command{settings};
    no_command.processes.launch_faults = {{LaunchStage::lookup, ENOENT, "can't execute prefect: not found in PATH"}};
    CHECK(no_command.run({}) == 0);
}

TEST_CASE("An exit code that the user mapped becomes 0") {
    auto settings = settings_for(RotationMode::restart);
    settings.mapped_exit_codes = {143};
    Run test{settings};
    CHECK(test.run({[&] { test.supervisor.on_signal(SIGTERM); }}) == 0);
}

TEST_CASE("The check shows what would run and starts nothing") {
    auto settings = settings_for(RotationMode::restart);
    settings.check_only = true;
    Run test{settings};
    CHECK(test.run({}) == 0);
    CHECK(test.processes.launched.empty());
    CHECK(test.logged("check: would run command=prefect"));
    CHECK_FALSE(test.logged("ya29"));
}

TEST_CASE("The check fails when the database can't be reached, and shows what would run nevertheless") {
    auto settings = settings_for(RotationMode::restart);
    settings.check_only = true;
    Run test{settings};
    test.database_answers = false;
    CHECK(test.run({}) == 1);
    CHECK(test.logged("ERROR database: 10.0.0.5:5432 can't be reached: no route to the database"));
    CHECK(test.logged("check: would run command=prefect"));
}

TEST_CASE("Without a token the child is started at once and the metadata server is never asked") {
    auto settings = settings_for(RotationMode::restart);
    settings.use_token = false;
    settings.ready_url.reset();
    Run test{settings};
    test.run({
        [&] {
            CHECK(test.processes.launched.size() == 1);
            CHECK(test.probe("/readyz") == 200);
            test.pass(24h);
            CHECK(test.token_requests == 0);
            test.supervisor.on_signal(SIGTSTP);
            CHECK(test.processes.signalled.back().second == SIGTSTP);
            test.supervisor.on_signal(SIGINT);
        },
    });
}
