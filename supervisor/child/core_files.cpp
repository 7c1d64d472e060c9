#include "child/core_files.hpp"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace supervisor {
namespace {

std::optional<Fault> limit_core_size() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_CORE, &limit) != 0) {
        return Fault{std::string{"can't forbid core files by RLIMIT_CORE: "} + std::strerror(errno)};
    }
    const rlimit least{1, std::max<rlim_t>(limit.rlim_max, 1)};
    if (::setrlimit(RLIMIT_CORE, &least) == 0) {
        return std::nullopt;
    }
    // A hard limit of 0 that we may not raise.
    limit.rlim_cur = 0;
    if (::setrlimit(RLIMIT_CORE, &limit) == 0) {
        return std::nullopt;
    }
    return Fault{std::string{"can't forbid core files by RLIMIT_CORE: "} + std::strerror(errno)};
}

}  // namespace

std::optional<Fault> forbid_core_files() {
    const bool closed = ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
    const int error = errno;
    if (auto fault = limit_core_size()) {
        return fault;
    }
    if (!closed) {
        return Fault{std::string{"can't close our memory to others by PR_SET_DUMPABLE: "} + std::strerror(error)};
    }
    return std::nullopt;
}

}  // namespace supervisor
