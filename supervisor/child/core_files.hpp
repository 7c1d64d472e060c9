#pragma once

#include "base/fault.hpp"

#include <optional>

namespace supervisor {

/// Keeps a token in memory from being written to a disk by a core file: ours, since we hold the token, and the child's,
/// which has it in its environment in the restart mode and inherits the limit.
///
/// The soft limit becomes 1 and not 0, because the kernel asks no limit before it pipes a core to a handler, except for
/// this value; a file shorter than a page is not written either (fs/coredump.c: `cprm.limit == 1`, `min_coredump`).
/// A hard limit above 0 stays, so that a child that wants core files can raise its soft limit. If the hard limit is 0,
/// both limits become 1 if that is permitted (CAP_SYS_RESOURCE); otherwise the child's core can still reach a handler.
///
/// The fault is only logged.
std::optional<Fault> forbid_core_files();

}  // namespace supervisor
