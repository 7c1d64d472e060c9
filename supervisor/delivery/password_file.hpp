#pragma once

#include "base/fault.hpp"
#include "base/secret.hpp"

#include <optional>
#include <string>
#include <vector>

namespace supervisor {

/// A PostgreSQL password file (libpq's .pgpass format) of ours in a private directory: directory 0700, file 0600, one
/// line that gives the token for every connection. asyncpg and libpq ignore a file that others may read. A new
/// token replaces the file by write, fsync and rename, so that a reader sees the old line or the new one, never
/// half of one, and a full disk leaves the old one. File and directory are removed with the object.
///
/// For as long as the object lives it holds a lock on the directory (flock(2)), by which other supervisors see that
/// the owner lives. The lock ends with the last descriptor, also when we are killed. Where locks are not supported, the
/// directory gets a name that no sweep removes.
class PasswordFile {
public:
    /// Makes the private directory in the first of `directories` that takes one together with the first token. Its
    /// path is absolute, also where the directory was given by a relative one.
    static Result<PasswordFile> create(const std::vector<std::string>& directories, const Secret& token);

    PasswordFile(PasswordFile&& other) noexcept;
    PasswordFile& operator=(PasswordFile&& other) noexcept;
    PasswordFile(const PasswordFile&) = delete;
    PasswordFile& operator=(const PasswordFile&) = delete;
    ~PasswordFile() { remove(); }

    /// Empty when the new token is in place, otherwise the reason why the old one still is. A directory that was
    /// removed is created again at the same path, which the child was given. An object that has taken its place is used
    /// only if it is a directory, not a symbolic link, that belongs to our own user and is closed to all others.
    [[nodiscard]] std::optional<Fault> replace(const Secret& token);
    /// Whether nobody has removed the file or its directory.
    [[nodiscard]] bool is_there() const;
    [[nodiscard]] std::string path() const { return directory_ + "/pgpass"; }

private:
    PasswordFile(std::string directory, int descriptor) : directory_(std::move(directory)), descriptor_(descriptor) {}
    std::optional<Fault> enter_directory();
    void remove() noexcept;

    std::string directory_{};
    int descriptor_ = -1;  ///< of the directory, with the lock
};

/// The directories in which the password file can be created, memory first: /dev/shm, $TMPDIR if it is set, /tmp.
std::vector<std::string> password_file_directories(const char* tmpdir);

/// Removes from `directories` the private directories of supervisors that ended without removing them, as one does that
/// is killed by SIGKILL, and returns the paths of those removed. Only directories of our own user are touched, and only
/// those whose lock can be taken: the lock shows that an owner is dead even if process ids do not, because they were
/// reused or because the owner is in another PID namespace. What can't be removed stays.
std::vector<std::string> sweep_password_directories(const std::vector<std::string>& directories);

}  // namespace supervisor
