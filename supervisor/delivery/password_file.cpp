#include "delivery/password_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

namespace supervisor {
namespace {

constexpr std::string_view prefix = "prefect-supervisor-";
constexpr std::string_view template_end = "XXXXXX";
/// Behind the prefix where nothing can be locked: the sweep of another supervisor, which might have locks, passes over it.
constexpr std::string_view without_lock = "without-lock-";
constexpr auto file_name = "pgpass";
constexpr auto next_name = "pgpass.next";

Fault failed(const std::string& what, const std::string& path, int error = errno) {
    return Fault{what + ' ' + path + ": " + std::strerror(error)};
}

int open_directory(int parent, const char* name) {
    return ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
}

/// Whether the open directory is of our own user and closed to all others.
bool is_private(int directory) {
    struct stat status{};
    return ::fstat(directory, &status) == 0 && status.st_uid == ::geteuid() && (status.st_mode & 077U) == 0;
}

/// Whether the open directory is the one at `path`, which must not be a symbolic link.
bool is_at(int directory, const std::string& path) {
    struct stat open{};
    struct stat named{};
    return ::fstat(directory, &open) == 0 && ::lstat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
           open.st_ino == named.st_ino;
}

enum class Lock { ours, of_another_process, not_supported };

Lock lock(int directory) {
    if (::flock(directory, LOCK_EX | LOCK_NB) == 0) {
        return Lock::ours;
    }
    return errno == EWOULDBLOCK ? Lock::of_another_process : Lock::not_supported;
}

/// Writes all of `text` to a new 0600 file `next_name` in the directory and brings it to the disk.
std::optional<Fault> write_private_file(int directory, const std::string& path, const std::string& text) {
    // A file that an interrupted writer left could be open elsewhere, so it is not overwritten.
    ::unlinkat(directory, next_name, 0);
    const int file = ::openat(directory, next_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
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
    // The mode is set whatever the umask is: with one bit for others the driver ignores the file.
    if (!fault && (::fchmod(file, 0600) != 0 || ::fsync(file) != 0)) {
        fault = failed("can't bring the password file to the disk at", path);
    }
    if (::close(file) != 0 && !fault) {
        fault = failed("can't close the password file", path);
    }
    if (fault) {
        ::unlinkat(directory, next_name, 0);
    }
    return fault;
}

/// A private directory in `parent`, locked where locks are supported: its path and descriptor.
Result<std::pair<std::string, int>> make_private_directory(const std::string& parent) {
    bool supported = true;
    // A sweep may mistake the new directory for a dead owner's before it is locked; then another name is tried.
    for (int attempts = 0; attempts < 10; ++attempts) {
        auto path = parent + '/';
        path.append(prefix).append(supported ? "" : without_lock).append(template_end);
        if (::mkdtemp(path.data()) == nullptr) {
            return failed("can't make a private directory in", parent);
        }
        const int directory = open_directory(AT_FDCWD, path.c_str());
        const int error = errno;
        if (directory >= 0) {
            const auto locked = lock(directory);
            const bool safe = locked == Lock::ours || (locked == Lock::not_supported && !supported);
            if (safe && is_at(directory, path)) {
                return std::pair{path, directory};
            }
            supported = supported && locked != Lock::not_supported;
            ::close(directory);
        }
        ::rmdir(path.c_str());
        if (directory < 0 && error != ENOENT) {
            return failed("can't open the private directory", path, error);
        }
    }
    return failed("can't lock a private directory in", parent, EWOULDBLOCK);
}

}  // namespace

Result<PasswordFile> PasswordFile::create(const std::vector<std::string>& directories, const Secret& token) {
    std::string why;
    for (const auto& parent : directories) {
        std::error_code unknown;
        const auto absolute = std::filesystem::absolute(parent, unknown);
        std::optional<Fault> fault;
        auto made = make_private_directory(unknown ? parent : absolute.string());
        if (!made) {
            fault = made.error();
        } else {
            PasswordFile file{made->first, made->second};
            fault = file.replace(token);
            if (!fault) {
                return file;
            }
        }
        why += (why.empty() ? "" : "; ") + fault->why;
    }
    return Fault{why};
}

PasswordFile::PasswordFile(PasswordFile&& other) noexcept
    : directory_(std::exchange(other.directory_, {})), descriptor_(std::exchange(other.descriptor_, -1)) {}

PasswordFile& PasswordFile::operator=(PasswordFile&& other) noexcept {
    if (this != &other) {
        remove();
        directory_ = std::exchange(other.directory_, {});
        descriptor_ = std::exchange(other.descriptor_, -1);
    }
    return *this;
}

std::optional<Fault> PasswordFile::enter_directory() {
    if (is_at(descriptor_, directory_)) {
        return std::nullopt;
    }
    if (::mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) {
        return failed("can't make the private directory again at", directory_);
    }
    const int directory = open_directory(AT_FDCWD, directory_.c_str());
    if (directory < 0) {
        return failed("can't open the private directory", directory_);
    }
    std::string why;
    if (!is_private(directory)) {
        why = "it belongs to another user or is open to others";
    } else if (lock(directory) == Lock::of_another_process) {
        why = "another process holds its lock";
    }
    if (!why.empty()) {
        ::close(directory);
        return Fault{"can't use the private directory " + directory_ + ": " + why};
    }
    ::close(std::exchange(descriptor_, directory));
    return std::nullopt;
}

std::optional<Fault> PasswordFile::replace(const Secret& token) {
    auto fault = enter_directory();
    if (fault) {
        return fault;
    }
    constexpr std::string_view every_connection = "*:*:*:*:";
    std::string line;
    // A string that grows leaves copies behind that are never wiped.
    line.reserve(every_connection.size() + token.reveal().size() + 1);
    line.append(every_connection).append(token.reveal()).push_back('\n');
    fault = write_private_file(descriptor_, directory_ + '/' + next_name, line);
    wipe(line);
    if (!fault && ::renameat(descriptor_, next_name, descriptor_, file_name) != 0) {
        fault = failed("can't put the new password file in place at", path());
        ::unlinkat(descriptor_, next_name, 0);
    }
    return fault;
}

bool PasswordFile::is_there() const {
    struct stat status{};
    return ::lstat(path().c_str(), &status) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

void PasswordFile::remove() noexcept {
    if (descriptor_ < 0) {
        return;
    }
    ::unlinkat(descriptor_, file_name, 0);
    ::unlinkat(descriptor_, next_name, 0);
    if (is_at(descriptor_, directory_)) {
        ::rmdir(directory_.c_str());
    }
    ::close(std::exchange(descriptor_, -1));
}

std::vector<std::string> password_file_directories(const char* tmpdir) {
    std::vector<std::string> directories{"/dev/shm"};
    for (const std::string directory : {tmpdir != nullptr ? tmpdir : "", "/tmp"}) {
        if (!directory.empty() && std::find(directories.begin(), directories.end(), directory) == directories.end()) {
            directories.push_back(directory);
        }
    }
    return directories;
}

std::vector<std::string> sweep_password_directories(const std::vector<std::string>& directories) {
    std::vector<std::string> removed;
    for (const auto& parent : directories) {
        const std::unique_ptr<DIR, int (*)(DIR*)> listing{::opendir(parent.c_str()), ::closedir};
        while (const dirent* entry = listing ? ::readdir(listing.get()) : nullptr) {
            const std::string name{entry->d_name};
            if (!name.starts_with(prefix) || name.size() != prefix.size() + template_end.size()) {
                continue;
            }
            const int place = ::dirfd(listing.get());
            const int directory = open_directory(place, name.c_str());
            if (directory < 0) {
                continue;
            }
            if (is_private(directory) && ::flock(directory, LOCK_EX | LOCK_NB) == 0) {
                ::unlinkat(directory, file_name, 0);
                ::unlinkat(directory, next_name, 0);
                if (::unlinkat(place, name.c_str(), AT_REMOVEDIR) == 0) {
                    removed.push_back(parent + '/' + name);
                }
            }
            ::close(directory);
        }
    }
    return removed;
}

}  // namespace supervisor
