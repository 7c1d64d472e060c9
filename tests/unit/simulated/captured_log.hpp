#pragma once

#include "base/log.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace simulated {

/// The real Log, in text form, into memory.
class CapturedLog {
public:
    explicit CapturedLog(supervisor::Level lowest = supervisor::Level::debug)
        : log_(supervisor::LogFormat::text, lowest, file_) {}
    CapturedLog(const CapturedLog&) = delete;
    CapturedLog& operator=(const CapturedLog&) = delete;
    ~CapturedLog() { ::close(file_); }

    [[nodiscard]] supervisor::Log& log() { return log_; }

    /// The lines since the last call, each from its severity on: `INFO child: started pid=100 restarts=0`.
    std::vector<std::string> lines() {
        std::vector<std::string> found;
        std::string line;
        for (char character = 0; ::pread(file_, &character, 1, read_) == 1; ++read_) {
            if (character != '\n') {
                line += character;
                continue;
            }
            found.push_back(line.substr(line.find(' ') + 1));
            line.clear();
        }
        return found;
    }

private:
    int file_ = ::memfd_create("log", MFD_CLOEXEC);
    off_t read_ = 0;
    supervisor::Log log_;
};

}  // namespace simulated
