#include "health/metrics.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

std::string text(const Metrics& metrics, RotationMode mode = RotationMode::restart, const HealthFacts& facts = {},
                 const ProcessUsage& usage = {}) {
    return metrics_answer(metrics, mode, facts, usage).body;
}

bool has_line(const std::string& text, const std::string& line) {
    return ('\n' + text).find('\n' + line + '\n') != std::string::npos;
}

}  // namespace

TEST_CASE("The answer has the type of the text format and ends with its last line") {
    const auto answer = metrics_answer(Metrics{}, RotationMode::restart, HealthFacts{}, ProcessUsage{});
    CHECK(answer.status == 200);
    CHECK(answer.content_type == "text/plain; version=0.0.4; charset=utf-8");
    CHECK(answer.body.ends_with('\n'));
    CHECK(answer.body.find("\n\n") == std::string::npos);
}

TEST_CASE("Every value of a label is there from the start, so that its first increase is seen") {
    const auto found = text(Metrics{});
    for (const auto* labels : {R"({mode="restart",result="success"})", R"({mode="restart",result="failed"})",
                               R"({mode="in-place",result="success"})", R"({mode="in-place",result="failed"})",
                               R"({mode="rolling",result="success"})", R"({mode="rolling",result="fallback"})",
                               R"({mode="rolling",result="failed"})"}) {
        CHECK(has_line(found, std::string{"prefect_supervisor_rotations_total"} + labels + " 0"));
    }
    for (const auto* result : {"fresh", "stale", "expired", "failed"}) {
        CHECK(has_line(found, std::string{R"(prefect_supervisor_token_refresh_total{result=")"} + result + "\"} 0"));
    }
    for (const auto* name : {"token_refresh", "child_start", "child_drain"}) {
        CHECK(has_line(found, std::string{"prefect_supervisor_"} + name + "_duration_seconds_count 0"));
    }
    CHECK(has_line(found, "prefect_supervisor_child_restarts_total 0"));
    CHECK(has_line(found, "prefect_supervisor_orphans_reaped_total 0"));
    CHECK(has_line(found, "prefect_supervisor_child_up 0"));
    CHECK(has_line(found, "prefect_supervisor_child_ready 0"));
}

TEST_CASE("Rotations count for the mode that was chosen alone") {
    Metrics metrics;
    metrics.rotations = {.success = 3, .fallback = 2, .failed = 1};
    const auto rolling = text(metrics, RotationMode::rolling);
    CHECK(has_line(rolling, R"(prefect_supervisor_rotations_total{mode="rolling",result="success"} 3)"));
    CHECK(has_line(rolling, R"(prefect_supervisor_rotations_total{mode="rolling",result="fallback"} 2)"));
    CHECK(has_line(rolling, R"(prefect_supervisor_rotations_total{mode="rolling",result="failed"} 1)"));
    CHECK(has_line(rolling, R"(prefect_supervisor_rotations_total{mode="restart",result="success"} 0)"));
    const auto in_place = text(metrics, RotationMode::in_place);
    CHECK(has_line(in_place, R"(prefect_supervisor_rotations_total{mode="in-place",result="success"} 3)"));
    CHECK(has_line(in_place, R"(prefect_supervisor_rotations_total{mode="in-place",result="failed"} 1)"));
    CHECK(has_line(in_place, R"(prefect_supervisor_rotations_total{mode="rolling",result="success"} 0)"));
}

TEST_CASE("The expiry has a sample only with a token, so that none looks like an expired one") {
    HealthFacts facts;
    CHECK(text(Metrics{}, RotationMode::restart, facts).find("\nprefect_supervisor_token_expiry_timestamp_seconds ") ==
          std::string::npos);
    facts.token = HealthFacts::TokenFacts{"0123abcd", 50min, 1'796'000'000'500ms};
    const auto found = text(Metrics{}, RotationMode::restart, facts);
    CHECK(has_line(found, "prefect_supervisor_token_expiry_timestamp_seconds 1796000000.5"));
    CHECK(found.find("0123abcd") == std::string::npos);
}

TEST_CASE("The child's state is shown by numbers") {
    HealthFacts facts;
    facts.child_pid = 42;
    facts.child_ready = true;
    facts.restarts = 5;
    facts.orphans_reaped = 6;
    const auto found = text(Metrics{}, RotationMode::restart, facts);
    CHECK(has_line(found, "prefect_supervisor_child_up 1"));
    CHECK(has_line(found, "prefect_supervisor_child_ready 1"));
    CHECK(has_line(found, "prefect_supervisor_child_restarts_total 5"));
    CHECK(has_line(found, "prefect_supervisor_orphans_reaped_total 6"));
}

TEST_CASE("The process shows what the system tells, and leaves out the rest") {
    Metrics metrics;
    metrics.process_start = 1'795'000'000'001ms;
    const auto little = text(metrics);
    CHECK(has_line(little, "process_start_time_seconds 1795000000.001"));
    CHECK(has_line(little, "process_cpu_seconds_total 0"));
    for (const auto* name : {"fds", "memory"}) {
        CHECK(little.find(name) == std::string::npos);
    }
    const auto all = text(metrics, RotationMode::restart, HealthFacts{},
                          {.cpu_time = std::chrono::microseconds{1'250'000},
                           .virtual_memory = 3'000'000,
                           .resident_memory = 2'000'000,
                           .open_descriptors = 12,
                           .most_descriptors = 1024});
    CHECK(has_line(all, "process_cpu_seconds_total 1.25"));
    CHECK(has_line(all, "process_open_fds 12"));
    CHECK(has_line(all, "process_max_fds 1024"));
    CHECK(has_line(all, "process_virtual_memory_bytes 3000000"));
    CHECK(has_line(all, "process_resident_memory_bytes 2000000"));
}
