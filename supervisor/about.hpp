#pragma once

#include <string>

namespace supervisor {

/// What --version prints: version, commit, compiler and the versions of the libraries in this binary.
std::string about();

}  // namespace supervisor
