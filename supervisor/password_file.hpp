#pragma once

#include "fault.hpp"
#include "token.hpp"

#include <optional>
#include <string>
#include <vector>

namespace supervisor {

/// A PostgreSQL password file (libpq's .pgpass format) of ours in a private directory: directory 0700, file 0600, one
/// line that gives the token for every connection. asyncpg and libpq ignore a file that others may read. A new
/// token replaces the file by write, fsync and rename, so that a reader sees the old line or the new one, never
/// half of one, and a full disk leaves the old one. File and directory are removed with the object.
class PasswordFile {
public:
    /// Makes the private directory in the first of `directories` that takes one together with the first token.
    static Result<PasswordFile> create(const std::vector<std::string>& directories, const Secret& token);

    PasswordFile(PasswordFile&& other) noexcept;
    PasswordFile& operator=(PasswordFile&& other) noexcept;
    PasswordFile(const PasswordFile&) = delete;
    PasswordFile& operator=(const PasswordFile&) = delete;
    ~PasswordFile() { remove(); }

    /// Empty when the new token is in place, else why the old one still is.
    [[nodiscard]] std::optional<Fault> replace(const Secret& token) const;
    [[nodiscard]] std::string path() const { return directory_ + "/pgpass"; }

private:
    explicit PasswordFile(std::string directory) : directory_(std::move(directory)) {}
    void remove() noexcept;

    std::string directory_{};
};

/// Memory first: /dev/shm, then $TMPDIR or /tmp.
std::vector<std::string> password_file_directories(const char* tmpdir);

}  // namespace supervisor
