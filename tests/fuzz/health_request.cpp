// Health requests, from the path to the answer, with texts of others in it: health/health_report and health/metrics.
//
// The input is the path, the last error and the database's fault, a line each; the bytes behind them are the rest of the
// facts.
#include "health/health_report.hpp"
#include "health/metrics.hpp"

#include "support/property.hpp"

#include <fuzzer/FuzzedDataProvider.h>
#include <nlohmann/json.hpp>

#include <string>

using namespace supervisor;

namespace {

/// A duration or a time as it can come to be: within three centuries.
milliseconds some_time(FuzzedDataProvider& bytes) {
    constexpr std::int64_t longest = 10'000'000'000'000;
    return milliseconds{bytes.ConsumeIntegralInRange<std::int64_t>(-longest, longest)};
}

HealthFacts some_facts(FuzzedDataProvider& bytes) {
    HealthFacts facts;
    facts.phase = static_cast<Phase>(bytes.ConsumeIntegralInRange<int>(0, static_cast<int>(Phase::stopped)));
    if (bytes.ConsumeBool()) {
        facts.child_pid = bytes.ConsumeIntegral<int>();
    }
    facts.child_uptime = some_time(bytes);
    facts.restarts = bytes.ConsumeIntegral<unsigned>();
    facts.child_ready = bytes.ConsumeBool();
    facts.ever_ready = bytes.ConsumeBool();
    if (bytes.ConsumeBool()) {
        facts.token = HealthFacts::TokenFacts{"0123abcd", some_time(bytes), milliseconds{some_time(bytes).count() / 2}};
    }
    if (bytes.ConsumeBool()) {
        facts.next_refresh = some_time(bytes);
    }
    return facts;
}

void require_verdict(const HttpResponse& answer) {
    fuzz::require(answer.status == 200 || answer.status == 503, "a verdict is 200 or 503");
    fuzz::require((answer.status == 200) == (answer.body == "ok\n"), "a verdict other than 200 says why");
    fuzz::require(answer.body.size() > 1 && answer.body.ends_with('\n'), "a verdict is a line");
}

void require_status(const HttpResponse& answer) {
    fuzz::require(answer.status == 200, "/status is always 200");
    const auto json = nlohmann::json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
    fuzz::require(json.is_object() && json.contains("state") && json["state"].is_string(), "/status is JSON");
}

/// Each line is a comment, or a name with or without labels, a space and a number.
void require_metrics(const HttpResponse& answer) {
    fuzz::require(answer.status == 200 && answer.body.ends_with('\n'), "/metrics is always 200");
    for (std::string_view rest = answer.body; !rest.empty();) {
        const auto line = fuzz::take(rest, '\n');
        const auto value = line.substr(line.rfind(' ') + 1);
        fuzz::require(
            line.starts_with("# ") || (line.starts_with("prefect_supervisor_") || line.starts_with("process_")),
            "a line of /metrics is a comment or a metric");
        fuzz::require(line.starts_with("# ") ||
                          (!value.empty() && value.find_first_not_of("0123456789.-") == std::string_view::npos),
                      "a line of /metrics ends with a number");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto rest = fuzz::as_text(data, size);
    const auto path = fuzz::take(rest, '\n');
    const auto last_error = fuzz::take(rest, '\n');
    const auto database_fault = fuzz::take(rest, '\n');
    FuzzedDataProvider bytes{reinterpret_cast<const std::uint8_t*>(rest.data()), rest.size()};
    auto facts = some_facts(bytes);
    facts.last_error = last_error;
    if (bytes.ConsumeBool()) {
        facts.database_fault = database_fault;
    }
    const auto answer = health_answer(path, facts);
    if (path == "/livez" || path == "/startupz" || path == "/readyz") {
        require_verdict(answer);
    } else if (path == "/status") {
        require_status(answer);
    } else {
        fuzz::require(answer.status == 404, "an unknown path is 404");
    }
    require_metrics(metrics_answer(Metrics{}, RotationMode::rolling, facts, ProcessUsage{}));
    return 0;
}
