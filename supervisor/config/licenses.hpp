#pragma once

#include <string_view>

namespace supervisor {

/// What --licenses prints: all that is linked in, with its versions and the texts of its licences. Defined by a source file
/// that the build generates (cmake/third-party.sh).
extern const std::string_view licenses;

}  // namespace supervisor
