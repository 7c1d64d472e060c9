#include "health/metrics.hpp"

#include "config/version.hpp"
#include "health/metrics_text.hpp"

#include <optional>
#include <string>

namespace supervisor {
namespace {

using Type = MetricsText::Type;

void write_token(MetricsText& text, const Metrics& metrics, const HealthFacts& facts) {
    const auto& refreshes = metrics.token_refreshes;
    text.begin("prefect_supervisor_token_refresh_total", Type::counter,
               "Answers to requests for a token: fresh, stale (the current token once more), expired (before it "
               "arrived), failed (no token).")
        .sample(refreshes.fresh, {{"result", "fresh"}})
        .sample(refreshes.stale, {{"result", "stale"}})
        .sample(refreshes.expired, {{"result", "expired"}})
        .sample(refreshes.failed, {{"result", "failed"}});
    text.begin("prefect_supervisor_token_refresh_duration_seconds", Type::histogram,
               "Time from a request for a token to its answer or failure.")
        .samples(metrics.token_refresh_duration);
    text.begin("prefect_supervisor_token_expiry_timestamp_seconds", Type::gauge,
               "When the token that the child works with expires, since the epoch. No sample without a token.");
    if (facts.token) {
        text.sample(facts.token->expiry.count(), MetricsText::digits_of_milliseconds);
    }
}

/// Only a rotation that needs two children at once can fall back to a restart.
void write_rotations(MetricsText& text, const Metrics& metrics, RotationMode mode) {
    text.begin(
        "prefect_supervisor_rotations_total", Type::counter,
        "Tries to bring a fresh token to the child: success, fallback (by a restart in place of a rolling rotation), "
        "failed (another try follows).");
    for (const auto each : {RotationMode::restart, RotationMode::in_place, RotationMode::rolling}) {
        const auto rotations = each == mode ? metrics.rotations : Metrics::Rotations{};
        const auto name = to_string(each);
        text.sample(rotations.success, {{"mode", name}, {"result", "success"}});
        if (each == RotationMode::rolling) {
            text.sample(rotations.fallback, {{"mode", name}, {"result", "fallback"}});
        }
        text.sample(rotations.failed, {{"mode", name}, {"result", "failed"}});
    }
}

void write_child(MetricsText& text, const Metrics& metrics, const HealthFacts& facts) {
    text.begin("prefect_supervisor_child_restarts_total", Type::counter, "How often the child was replaced by another.")
        .sample(std::uint64_t{facts.restarts});
    text.begin("prefect_supervisor_child_start_duration_seconds", Type::histogram,
               "Time from the start of a child until it was ready; beside another child, until it listened.")
        .samples(metrics.child_start_duration);
    text.begin("prefect_supervisor_child_drain_duration_seconds", Type::histogram,
               "Time from the TERM of a rotation until the child had ended.")
        .samples(metrics.child_drain_duration);
    text.begin("prefect_supervisor_child_up", Type::gauge, "1 while a child runs.")
        .sample(std::uint64_t{facts.child_pid ? 1U : 0U});
    text.begin(
            "prefect_supervisor_child_ready", Type::gauge,
            "1 while the child's last answer to the readiness question counts; without that question, while it runs.")
        .sample(std::uint64_t{facts.child_ready ? 1U : 0U});
    text.begin("prefect_supervisor_orphans_reaped_total", Type::counter,
               "Processes that were adopted, and reaped when they had ended.")
        .sample(std::uint64_t{facts.orphans_reaped});
}

/// Names and texts are those that the client libraries share
/// (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics). What the system does not tell is
/// left out, as that page asks.
void write_process(MetricsText& text, const ProcessUsage& usage, milliseconds start) {
    const auto gauge = [&text](std::string_view name, std::string_view help, std::optional<std::uint64_t> value) {
        if (value) {
            text.begin(name, Type::gauge, help).sample(*value);
        }
    };
    text.begin("process_cpu_seconds_total", Type::counter, "Total user and system CPU time spent in seconds.")
        .sample(usage.cpu_time.count(), MetricsText::digits_of_microseconds);
    gauge("process_open_fds", "Number of open file descriptors.", usage.open_descriptors);
    gauge("process_max_fds", "Maximum number of open file descriptors.", usage.most_descriptors);
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", usage.virtual_memory);
    gauge("process_resident_memory_bytes", "Resident memory size in bytes.", usage.resident_memory);
    text.begin("process_start_time_seconds", Type::gauge, "Start time of the process since unix epoch in seconds.")
        .sample(start.count(), MetricsText::digits_of_milliseconds);
}

}  // namespace

HttpResponse metrics_answer(const Metrics& metrics, RotationMode mode, const HealthFacts& facts,
                            const ProcessUsage& usage) {
    MetricsText text;
    write_rotations(text, metrics, mode);
    write_token(text, metrics, facts);
    write_child(text, metrics, facts);
    text.begin("prefect_supervisor_build_info", Type::gauge, "1; the labels tell which program this is.")
        .sample(std::uint64_t{1}, {{"version", version}, {"commit", commit}});
    write_process(text, usage, metrics.process_start);
    return {.content_type = MetricsText::content_type, .body = text.text()};
}

}  // namespace supervisor
