#include "config/prefect_command.hpp"

#include <algorithm>
#include <cctype>

namespace supervisor {
namespace {

/// The first of these variables that is set.
std::string first_of(const Environment& environment, const std::vector<std::string>& names, std::string otherwise) {
    for (const auto& name : names) {
        auto value = value_of(environment, name);
        if (!value.empty()) {
            return value;
        }
    }
    return otherwise;
}

std::string lower_case(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

/// uvicorn counts in whole seconds, and its end takes a moment of its own.
std::string graceful_seconds(std::chrono::milliseconds drain_timeout) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(drain_timeout - std::chrono::seconds{1});
    return std::to_string(std::max<std::int64_t>(1, seconds.count()));
}

}  // namespace

std::vector<std::string> prefect_server_start(std::uint16_t port) {
    return {"prefect", "server", "start", "--host", "0.0.0.0", "--port", std::to_string(port)};
}

std::vector<std::string> prefect_under_uvicorn(std::chrono::milliseconds drain_timeout,
                                               const Environment& environment) {
    return {
        "uvicorn",
        // Without a folder of its own, uvicorn would look for modules in the working directory first.
        "--app-dir",
        "/dev/null",
        "--factory",
        "prefect.server.api.server:create_app",
        "--fd",
        "3",
        "--workers",
        "1",
        "--timeout-keep-alive",
        first_of(environment, {"PREFECT_SERVER_API_KEEPALIVE_TIMEOUT"}, "620"),
        "--ws-ping-interval",
        first_of(environment, {"PREFECT_SERVER_API_WEBSOCKET_PING_INTERVAL"}, "20"),
        "--ws-ping-timeout",
        first_of(environment, {"PREFECT_SERVER_API_WEBSOCKET_PING_TIMEOUT"}, "20"),
        "--log-level",
        lower_case(first_of(environment, {"PREFECT_SERVER_LOGGING_LEVEL", "PREFECT_LOGGING_SERVER_LEVEL"}, "warning")),
        "--timeout-graceful-shutdown",
        graceful_seconds(drain_timeout),
    };
}

}  // namespace supervisor
