#pragma once

#include <optional>
#include <string>

namespace supervisor {

/// Moves us to `/`, so that no mount stays busy for our sake, and returns the path of where we were, for the children
/// to start in. A path and not a descriptor: an open directory keeps its mount busy as a working directory does.
///
/// Returns nothing and leaves us where we are if the path does not lead back here: the directory was removed, lies
/// outside of our root (getcwd(3)), or may only be used by whoever is in it already. Paths that were given to us and
/// are relative have to be resolved before the call.
std::optional<std::string> leave_working_directory();

}  // namespace supervisor
