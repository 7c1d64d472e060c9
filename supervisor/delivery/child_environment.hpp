#pragma once

#include "base/secret.hpp"
#include "config/settings.hpp"

#include <string>
#include <vector>

namespace supervisor {

/// How the child gets at the database: by a token in its URL, or by a URL without one and a password file.
struct Credentials {
    const Secret* token = nullptr;  ///< restart: part of the URL
    std::string password_file{};    ///< in place: PGPASSFILE
};

struct ChildEnvironment {
    Environment variables;
    std::vector<std::string> warnings;  ///< which of the user's variables were taken out or replaced; names, no values
};

/// The child's environment: ours, with the credentials set, everything that would win over them taken out, and
/// defaults of Prefect's filled in that suit Cloud Run where the user has not set them.
ChildEnvironment child_environment(const Settings& settings, const Environment& ours, const Credentials& credentials);

}  // namespace supervisor
