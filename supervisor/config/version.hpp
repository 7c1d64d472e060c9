#pragma once

#include <string>
#include <string_view>

namespace supervisor {

// The values are defined by a source file that the build generates (cmake/version.cmake).
extern const std::string_view version;       ///< "1.2.3"
extern const std::string_view commit;        ///< "0123456789ab", or "unknown" when built outside a git checkout
extern const std::string_view compiler;      ///< "GNU 12.2.0"
extern const std::string_view curl_patches;  ///< the Debian revision whose security patches curl has

/// The text that --version prints: version, commit, compiler and the versions of the libraries in this binary.
std::string version_text();

}  // namespace supervisor
