#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace supervisor {

/// Severities in rising order; the printed names are those of Cloud Logging.
enum class Level { debug, info, warning, error };

enum class LogFormat {
    text,  ///< `2026-11-23T10:00:00.123Z INFO rotation: ... key=value`
    json,  ///< one object per line with the `severity`, `message` and `time` that Cloud Logging lifts
};

/// A detail of an event. Integers stay numbers in JSON.
struct Field {
    std::string key;
    std::variant<std::string, std::int64_t> value;

    friend bool operator==(const Field&, const Field&) = default;
};

/// One event, as a policy states it and as the log prints it.
struct LogLine {
    Level level = Level::info;
    std::string message;
    std::vector<Field> fields{};

    friend bool operator==(const LogLine&, const LogLine&) = default;
};

/// Writes each event as one line with one write(2) of at most PIPE_BUF bytes, so that it never mixes with the child's
/// output on the same pipe (POSIX write(2)). A reader that does not read costs lines and never time: what does not fit
/// into the pipe is dropped and counted, and the next line that fits is preceded by a report of the number.
class Log {
public:
    /// `descriptor` is not owned.
    Log(LogFormat format, Level lowest, int descriptor);
    ~Log();
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    void write(const LogLine& line);
    void debug(std::string message, std::vector<Field> fields = {});
    void info(std::string message, std::vector<Field> fields = {});
    void warning(std::string message, std::vector<Field> fields = {});
    void error(std::string message, std::vector<Field> fields = {});

private:
    struct Backend;
    std::unique_ptr<Backend> backend_;
};

}  // namespace supervisor
