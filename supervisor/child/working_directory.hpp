#pragma once

#include <optional>
#include <string>

namespace supervisor {

/// Changes the working directory to `/`, so that we keep no mount busy, and returns the path of the old one, in which
/// the children start. It is a path and not a descriptor, since an open directory keeps its mount busy, too.
///
/// Returns nothing and changes nothing if the path does not lead back to the old directory: the directory was removed,
/// lies outside of our root (getcwd(3)), or can only be used by a process that is in it already. Paths that were given
/// to us and are relative have to be resolved before the call.
std::optional<std::string> leave_working_directory();

}  // namespace supervisor
