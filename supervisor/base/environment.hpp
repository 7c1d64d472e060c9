#pragma once

#include <map>
#include <string>

namespace supervisor {

/// Environment variables by name.
using Environment = std::map<std::string, std::string>;

/// The variables of this process. An entry without an equals sign is left out; of two entries with the same name the
/// first one counts, as with getenv(3).
Environment read_environment();

/// The value of `name`; empty when it is not set.
std::string value_of(const Environment& environment, const std::string& name);

}  // namespace supervisor
