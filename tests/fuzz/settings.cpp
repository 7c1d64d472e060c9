// Environment and command line, up to the child's environment: config/settings, delivery/child_environment.
//
// The input has words as the kernel passes them, each with a NUL at its end: NAME=VALUE for the environment, then an empty
// word, then the command line.
#include "config/settings.hpp"
#include "delivery/child_environment.hpp"

#include "support/property.hpp"
#include "support/url.hpp"

#include <string>
#include <vector>

using namespace supervisor;
using std::chrono::hours;
using std::chrono::milliseconds;

namespace {

void require_refusal(const EarlyExit& exit) {
    fuzz::require(exit.code == 0 || exit.code == 1 || exit.code == 2, "the exit code is one of the documented ones");
    fuzz::require(exit.text.ends_with('\n'), "what the user is told ends its line");
    if (exit.code != 0) {
        fuzz::require(exit.text.starts_with("prefect-supervisor: "), "an error says whose it is");
        fuzz::require(fuzz::is_one_line(exit.text.substr(0, exit.text.size() - 1)), "an error is one line");
    }
}

template <class Duration>
bool is_within(milliseconds value, milliseconds least, Duration most) {
    return value >= least && value <= most;
}

void require_limits(const Settings& settings) {
    fuzz::require(!settings.command.empty() && !settings.command.front().empty(), "there is a command");
    fuzz::require(settings.log_format.has_value(), "there is a log format");
    fuzz::require(settings.port != 0 && settings.database.port != 0, "a port is not 0");
    fuzz::require(is_within(settings.refresh_interval, milliseconds{1000}, hours{24}), "refresh interval");
    fuzz::require(is_within(settings.drain_timeout, milliseconds{1}, hours{1}), "drain timeout");
    fuzz::require(is_within(settings.stop_delay, milliseconds{0}, hours{1}), "stop delay");
    fuzz::require(is_within(settings.start_deadline, milliseconds{1}, hours{1}), "start deadline");
    fuzz::require(is_within(settings.stop_timeout, milliseconds{settings.use_token ? 1 : 0}, hours{1}), "stop timeout");
    fuzz::require(!settings.db_wait || is_within(*settings.db_wait, milliseconds{1}, hours{1}), "database wait");
    fuzz::require(!settings.health_address || settings.health_address->port != 0, "health port");
    fuzz::require(!settings.runs_prefect || !settings.health_address || settings.health_address->port != settings.port,
                  "Prefect and the health port do not share a port");
}

std::string percent_decoded(std::string_view text) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'A' + 10; };
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%') {
            decoded += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
            i += 2;
        } else {
            decoded += text[i];
        }
    }
    return decoded;
}

/// The child's URL, taken apart again.
void require_url(std::string_view url, const Settings& settings, const Secret& token) {
    constexpr std::string_view scheme = "postgresql+asyncpg://";
    fuzz::require(url.starts_with(scheme), "the URL has its scheme");
    url.remove_prefix(scheme.size());
    const auto user = fuzz::take(url, ':');
    const auto password = fuzz::take(url, '@');
    const auto host_and_port = fuzz::take(url, '/');
    const auto name = fuzz::take(url, '?');
    fuzz::require(percent_decoded(user) == settings.database.user, "the URL has the user");
    fuzz::require(percent_decoded(password) == token.reveal(), "the URL has the password");
    fuzz::require(host_and_port == to_string(Address{settings.database.host, settings.database.port}),
                  "the URL has host and port");
    fuzz::require(percent_decoded(name) == settings.database.name, "the URL has the database");
    fuzz::require(url == (settings.database.ssl ? "ssl=" + *settings.database.ssl : ""), "the URL has the TLS mode");
}

void require_child_environment(const Settings& settings, const Environment& environment) {
    const Secret token{"ya29.c/a:b@c?d#e%f"};
    const auto child = child_environment(settings, environment, {.token = &token});
    require_url(value_of(child.variables, "PREFECT_API_DATABASE_CONNECTION_URL"), settings, token);
    fuzz::require(
        !child.variables.contains("PGPASSWORD") && !child.variables.contains("PREFECT_SERVER_DATABASE_CONNECTION_URL"),
        "nothing in the child's environment wins over the token");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto rest = fuzz::as_text(data, size);
    Environment environment;
    while (!rest.empty()) {
        auto assignment = fuzz::take(rest, '\0');
        if (assignment.empty()) {
            break;
        }
        const std::string name{fuzz::take(assignment, '=')};
        environment.emplace(name, assignment);
    }
    // It names a file, and a file of this machine must not decide what is found. What such a file says is another subject.
    environment.erase("GOOGLE_APPLICATION_CREDENTIALS");
    std::vector<std::string> arguments;
    while (!rest.empty()) {
        arguments.emplace_back(fuzz::take(rest, '\0'));
    }

    const auto settings = read_settings(arguments, environment);
    if (!settings) {
        require_refusal(settings.error());
        return 0;
    }
    require_limits(*settings);
    if (settings->use_token && !settings->probe_url) {
        fuzz::require(fuzz::is_only_host(settings->metadata_host), "the metadata server is a host and nothing else");
        require_child_environment(*settings, environment);
    }
    return 0;
}
