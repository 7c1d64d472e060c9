#pragma once

#include "base/secret.hpp"
#include "config/settings.hpp"

#include <string>
#include <vector>

namespace supervisor {

/// How the child logs in to the database: by a token in its URL, or by a URL without one and a password file.
struct Credentials {
    const Secret* token = nullptr;  ///< restart: part of the URL
    std::string password_file{};    ///< in place: PGPASSFILE
};

struct ChildEnvironment {
    Environment variables;
    std::vector<std::string> warnings;  ///< which of the user's variables were taken out or replaced; names, no values
};

/// The child's environment: ours, with the credentials set, with every variable removed that would override them, and
/// with settings of Prefect filled in that suit Cloud Run, unless the user has set them.
ChildEnvironment child_environment(const Settings& settings, const Environment& ours, const Credentials& credentials);

}  // namespace supervisor
