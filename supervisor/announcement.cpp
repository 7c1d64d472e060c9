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
        fields.push_back({"rotation", std::string{to_string(settings.rotation)}});
        if (settings.credential_file) {
            fields.push_back({"credentials", settings.credential_file->path});
        } else {
            fields.push_back({"metadata_server", settings.metadata_host});
        }
        if (settings.impersonated) {
            fields.push_back({"impersonates", settings.impersonated->email});
        }
        fields.push_back({"database", settings.database.host});
    }
    fields.push_back({"command", settings.command_text()});
    log.info("starting", std::move(fields));
}

}  // namespace supervisor
