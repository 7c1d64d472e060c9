#pragma once

#include "base/fault.hpp"

#include <optional>

namespace supervisor {

/// Keeps a token that is in memory from reaching a disk by a core file: ours, for we hold the token, and the child's,
/// which has it in its environment in the restart mode and inherits the limit.
///
/// The soft limit becomes 1 and not 0, because the kernel asks no limit before it pipes a core to a handler, except for
/// this value; a file shorter than a page is not written either (fs/coredump.c: `cprm.limit == 1`, `min_coredump`).
/// A hard limit above 0 stays, so that a child that wants core files can raise its soft limit. With one of 0 both
/// become 1 where we may (CAP_SYS_RESOURCE), else the child's core can still reach a handler.
///
/// The fault is for the log alone.
std::optional<Fault> forbid_core_files();

}  // namespace supervisor
