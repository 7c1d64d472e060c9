#include "announcement.hpp"

#include "config/version.hpp"

#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace supervisor {

void announce(const Settings& settings, Log& log) {
    for (const auto& warning : settings.warnings) {
        log.warning(warning);
    }
    if (settings.check_only) {
        return;
    }
    std::vector<Field> fields{{"version", std::string{version}}, {"pid", std::int64_t{::getpid()}}};
    if (settings.use_token) {
        fields.push_back({"rotation", settings.rotation == RotationMode::in_place ? "in-place" : "restart"});
        fields.push_back({"metadata_server", settings.metadata_host});
        fields.push_back({"database", settings.database.host});
    }
    fields.push_back({"command", settings.command_text()});
    log.info("starting", std::move(fields));
}

}  // namespace supervisor
