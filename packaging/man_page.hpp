#pragma once

#include <string>

namespace supervisor {

/// prefect-supervisor(8) in roff, from the table of settings. The date is that of the source, such as 2026-11-26.
std::string man_page(const std::string& date);

}  // namespace supervisor
