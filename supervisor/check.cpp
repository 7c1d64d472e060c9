#include "check.hpp"

#include "delivery/child_environment.hpp"

#include <string>

namespace supervisor {

void show_what_would_run(const Settings& settings, const Environment& environment, const Secret* token, Log& log) {
    const bool in_place = settings.rotation == RotationMode::in_place;
    const Secret redacted{token != nullptr ? "TOKEN-" + token->short_hash() : std::string{}};
    const Credentials credentials{in_place || token == nullptr ? nullptr : &redacted, "/dev/shm/.../pgpass"};
    const auto child = child_environment(settings, environment, credentials);
    for (const auto& warning : child.warnings) {
        log.warning("check: " + warning);
    }
    for (const auto& [name, value] : child.variables) {
        const auto before = environment.find(name);
        if (before == environment.end() || before->second != value) {
            log.info("check: would set", {{"variable", name}, {"value", value}});
        }
    }
    log.info("check: would run", {{"command", settings.command_text()}});
}

}  // namespace supervisor
