// What the log makes of texts that come from outside: base/log.
//
// The first byte of the input chooses format and level; the message and two fields are separated by NUL.
#include "base/log.hpp"

#include "support/property.hpp"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <array>
#include <climits>

using namespace supervisor;

namespace {

/// A pipe in packet mode: each read gives what one write wrote (O_DIRECT in pipe(2)).
std::array<int, 2> packet_pipe() {
    std::array<int, 2> ends{};
    fuzz::require(::pipe2(ends.data(), O_DIRECT | O_CLOEXEC | O_NONBLOCK) == 0, "there is a pipe");
    return ends;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto ends = packet_pipe();
    if (size == 0) {
        return 0;
    }
    auto rest = fuzz::as_text(data + 1, size - 1);
    const auto format = (*data & 1U) != 0 ? LogFormat::json : LogFormat::text;
    LogLine line{static_cast<Level>((*data >> 1U) & 3U), std::string{fuzz::take(rest, '\0')}};
    line.fields.push_back({"first", std::string{fuzz::take(rest, '\0')}});
    line.fields.push_back({"second", std::string{rest}});
    line.fields.push_back({"number", static_cast<std::int64_t>(size)});
    Log{format, Level::debug, ends[1]}.write(line);

    std::string written(std::size_t{2} * PIPE_BUF, '\0');
    const auto length = ::read(ends[0], written.data(), written.size());
    fuzz::require(length > 0, "an event is written");
    written.resize(static_cast<std::size_t>(length));
    fuzz::require(written.size() <= PIPE_BUF, "a line is not longer than what one write keeps together");
    fuzz::require(written.ends_with('\n'), "a line has its end");
    written.pop_back();
    fuzz::require(fuzz::is_one_line(written), "an event is one line");
    fuzz::require(::read(ends[0], written.data(), written.size()) < 0, "an event is one write");
    if (format == LogFormat::json) {
        const auto json = nlohmann::json::parse(written, nullptr, /*allow_exceptions=*/false);
        fuzz::require(json.is_object(), "a line in JSON can be read");
        fuzz::require(json.contains("message") && json.contains("severity") && json.contains("time"),
                      "a line in JSON has what Cloud Logging lifts");
    }
    return 0;
}
