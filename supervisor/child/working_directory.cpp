#include "child/working_directory.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>

namespace supervisor {

std::optional<std::string> leave_working_directory() {
    std::string path(PATH_MAX, '\0');
    struct stat here{};
    struct stat back{};
    if (::getcwd(path.data(), path.size()) == nullptr || ::stat(".", &here) != 0) {
        return std::nullopt;
    }
    path.resize(path.find('\0'));
    // Linux puts "(unreachable)" before a path that is outside of our root.
    if (!path.starts_with('/') || ::stat(path.c_str(), &back) != 0 || here.st_dev != back.st_dev ||
        here.st_ino != back.st_ino) {
        return std::nullopt;
    }
    // The child's way is tried while a failure still leaves us here.
    if (::chdir(path.c_str()) != 0 || ::chdir("/") != 0) {
        return std::nullopt;
    }
    return path;
}

}  // namespace supervisor
