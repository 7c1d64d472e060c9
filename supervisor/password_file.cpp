#include "password_file.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace supervisor {
namespace {

Fault failed(const std::string& what, const std::string& path) {
    return Fault{what + ' ' + path + ": " + std::strerror(errno)};
}

/// Writes all of `text` to a new 0600 file at `path` and brings it to the disk.
std::optional<Fault> write_private_file(const std::string& path, const std::string& text) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return failed("can't create the password file", path);
    }
    std::optional<Fault> fault;
    for (std::size_t written = 0; written < text.size() && !fault;) {
        const auto count = ::write(file, text.data() + written, text.size() - written);
        if (count < 0 && errno != EINTR) {
            fault = failed("can't write the password file", path);
        } else if (count > 0) {
            written += static_cast<std::size_t>(count);
        }
    }
    // The file's own mode, whatever the umask: one bit for others, and the driver ignores the file.
    if (!fault && (::fchmod(file, 0600) != 0 || ::fsync(file) != 0)) {
        fault = failed("can't bring the password file to the disk at", path);
    }
    if (::close(file) != 0 && !fault) {
        fault = failed("can't close the password file", path);
    }
    if (fault) {
        ::unlink(path.c_str());
    }
    return fault;
}

}  // namespace

Result<PasswordFile> PasswordFile::create(const std::vector<std::string>& directories, const Secret& token) {
    std::string why;
    for (const auto& parent : directories) {
        std::string path = parent + "/prefect-supervisor-XXXXXX";
        std::optional<Fault> fault;
        if (::mkdtemp(path.data()) == nullptr) {
            fault = failed("can't make a private directory in", parent);
        } else {
            PasswordFile file{path};
            fault = file.replace(token);
            if (!fault) {
                return file;
            }
        }
        why += (why.empty() ? "" : "; ") + fault->why;
    }
    return Fault{why};
}

PasswordFile::PasswordFile(PasswordFile&& other) noexcept : directory_(std::exchange(other.directory_, {})) {}

PasswordFile& PasswordFile::operator=(PasswordFile&& other) noexcept {
    if (this != &other) {
        remove();
        directory_ = std::exchange(other.directory_, {});
    }
    return *this;
}

std::optional<Fault> PasswordFile::replace(const Secret& token) const {
    std::string line = "*:*:*:*:" + token.reveal() + '\n';
    const auto next = path() + ".next";
    auto fault = write_private_file(next, line);
    wipe(line);
    if (!fault && ::rename(next.c_str(), path().c_str()) != 0) {
        fault = failed("can't put the new password file in place at", path());
        ::unlink(next.c_str());
    }
    return fault;
}

void PasswordFile::remove() noexcept {
    if (!directory_.empty()) {
        ::unlink(path().c_str());
        ::unlink((path() + ".next").c_str());
        ::rmdir(directory_.c_str());
    }
}

std::vector<std::string> password_file_directories(const char* tmpdir) {
    return {"/dev/shm", tmpdir != nullptr && *tmpdir != '\0' ? tmpdir : "/tmp"};
}

}  // namespace supervisor
