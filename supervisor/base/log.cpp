#include "base/log.hpp"

// Cloud Logging's names for the severities, so that text and JSON use the same words.
#define SPDLOG_LEVEL_NAMES {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OFF"}
#define SPDLOG_NO_THREAD_ID
#define SPDLOG_NO_ATOMIC_LEVELS
#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

namespace supervisor {
namespace {

class DescriptorSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
public:
    explicit DescriptorSink(int descriptor) : descriptor_(descriptor) {}

    /// The number of lines that were dropped since the last call.
    [[nodiscard]] std::uint64_t take_dropped() { return std::exchange(dropped_, 0); }
    void add_dropped(std::uint64_t lines) { dropped_ += lines; }

private:
    void sink_it_(const spdlog::details::log_msg& message) override {
        spdlog::memory_buf_t line;
        formatter_->format(message, line);
        pollfd ready{descriptor_, POLLOUT, 0};
        // A pipe is writable when PIPE_BUF bytes fit, and then the write below can't block the loop. Where poll(2) is
        // forbidden the line is written all the same.
        if (::poll(&ready, 1, 0) == 0 || ::write(descriptor_, line.data(), line.size()) < 0) {
            ++dropped_;
        }
    }
    void flush_() override {}

    int descriptor_;
    std::uint64_t dropped_ = 0;
};

std::string quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string quoted_if_needed(const std::string& text) {
    const auto is_plain = [](char c) { return c > ' ' && c <= '~' && c != '"' && c != '=' && c != '\\'; };
    const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), is_plain);
    return plain ? text : quoted(text);
}

/// The message without its quotes: control characters stay escaped, so that one event is one line.
std::string on_one_line(const std::string& message) {
    const auto text = quoted(message);
    std::string line;
    for (std::size_t i = 1; i + 1 < text.size(); ++i) {
        if (text[i] == '\\' && (text[i + 1] == '"' || text[i + 1] == '\\')) {
            ++i;
        }
        line += text[i];
    }
    return line;
}

std::string as_text(const LogLine& line) {
    std::string text = on_one_line(line.message);
    for (const auto& [key, value] : line.fields) {
        text += ' ' + key + '=';
        const auto* number = std::get_if<std::int64_t>(&value);
        text += number != nullptr ? std::to_string(*number) : quoted_if_needed(std::get<std::string>(value));
    }
    return text;
}

/// The text in quotes, cut to a half until it fits: what is escaped in it takes up to six times its own room.
std::string quoted_beginning(const std::string& text, std::size_t longest) {
    std::string result = quoted(text);
    for (auto length = text.size() / 2; result.size() > longest; length /= 2) {
        result = quoted(text.substr(0, length));
    }
    return result;
}

std::string as_json_members(const LogLine& line, std::size_t longest) {
    std::string text = "\"message\":";
    text += quoted_beginning(line.message, longest - text.size());
    for (const auto& [key, value] : line.fields) {
        const auto* number = std::get_if<std::int64_t>(&value);
        auto member =
            ",\"" + key + "\":" + (number != nullptr ? std::to_string(*number) : quoted(std::get<std::string>(value)));
        // A JSON object that is cut off would not parse, so a line that is too long loses whole members instead.
        if (text.size() + member.size() <= longest) {
            text += member;
        }
    }
    return text;
}

// This leaves room within PIPE_BUF for the time, the severity and the end of the line.
constexpr std::size_t longest_payload = PIPE_BUF - 96;
constexpr std::size_t longest_value = 2000;

spdlog::level::level_enum backend_level(Level level) {
    switch (level) {
        case Level::debug: return spdlog::level::debug;
        case Level::info: return spdlog::level::info;
        case Level::warning: return spdlog::level::warn;
        case Level::error: return spdlog::level::err;
    }
    return spdlog::level::info;
}

}  // namespace

struct Log::Backend {
    Backend(LogFormat log_format, Level lowest, int descriptor)
        : format(log_format), sink(std::make_shared<DescriptorSink>(descriptor)), logger("supervisor", sink) {
        const char* pattern = format == LogFormat::json ? R"({"severity":"%l","time":"%Y-%m-%dT%H:%M:%S.%eZ",%v})"
                                                        : "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
        logger.set_formatter(
            std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc, "\n"));
        logger.set_level(backend_level(lowest));
    }

    void print(const LogLine& line) {
        const auto level = backend_level(line.level);
        auto payload = format == LogFormat::json ? as_json_members(line, longest_payload) : as_text(line);
        if (payload.size() > longest_payload) {
            payload.resize(longest_payload);
        }
        logger.log(level, payload);
    }

    LogFormat format;
    std::shared_ptr<DescriptorSink> sink;
    spdlog::logger logger;
};

Log::Log(LogFormat format, Level lowest, int descriptor)
    : backend_(std::make_unique<Backend>(format, lowest, descriptor)) {}
Log::~Log() = default;

void Log::write(const LogLine& line) {
    if (const auto dropped = backend_->sink->take_dropped(); dropped > 0) {
        backend_->print({Level::warning,
                         "log: lines were dropped because nobody read the log",
                         {{"dropped", static_cast<std::int64_t>(dropped)}}});
        if (backend_->sink->take_dropped() > 0) {
            // The report itself was dropped, so the lines that it counted remain to be reported.
            backend_->sink->add_dropped(dropped);
        }
    }
    if (!backend_->logger.should_log(backend_level(line.level))) {
        return;
    }
    auto bounded = line;
    if (bounded.message.size() > longest_value) {
        bounded.message.resize(longest_value);
    }
    backend_->print(bounded);
}

void Log::debug(std::string message, std::vector<Field> fields) {
    write({Level::debug, std::move(message), std::move(fields)});
}
void Log::info(std::string message, std::vector<Field> fields) {
    write({Level::info, std::move(message), std::move(fields)});
}
void Log::warning(std::string message, std::vector<Field> fields) {
    write({Level::warning, std::move(message), std::move(fields)});
}
void Log::error(std::string message, std::vector<Field> fields) {
    write({Level::error, std::move(message), std::move(fields)});
}

}  // namespace supervisor
