#include "base/log.hpp"

#include <catch2/catch_test_macros.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <regex>
#include <string>
#include <vector>

using namespace supervisor;

namespace {

/// A pipe in packet mode: each read gives what one write wrote (O_DIRECT in pipe(2)).
class Pipe {
public:
    Pipe() { REQUIRE(::pipe2(ends_.data(), O_DIRECT | O_CLOEXEC | O_NONBLOCK) == 0); }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }

    [[nodiscard]] int write_end() const { return ends_[1]; }

    /// What was written, one string for each write.
    [[nodiscard]] std::vector<std::string> writes() const {
        std::vector<std::string> all;
        std::string some(PIPE_BUF, '\0');
        for (;;) {
            const auto size = ::read(ends_[0], some.data(), some.size());
            if (size < 0) {
                REQUIRE(errno == EAGAIN);
                return all;
            }
            all.push_back(some.substr(0, static_cast<std::size_t>(size)));
        }
    }

private:
    std::array<int, 2> ends_{-1, -1};
};

std::string one_write(const Pipe& pipe) {
    const auto writes = pipe.writes();
    REQUIRE(writes.size() == 1);
    CHECK(writes.front().ends_with('\n'));
    CHECK(writes.front().find('\n') == writes.front().size() - 1);
    CHECK(writes.front().size() <= PIPE_BUF);
    return writes.front().substr(0, writes.front().size() - 1);
}

nlohmann::json one_object(const Pipe& pipe) { return nlohmann::json::parse(one_write(pipe)); }

const std::string time_pattern = R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)";

}  // namespace

TEST_CASE("A text line has time, severity, message and fields") {
    const Pipe pipe;
    Log log{LogFormat::text, Level::debug, pipe.write_end()};
    log.info("child: started", {{"pid", std::int64_t{42}}, {"command", "a b"}, {"word", "plain"}, {"empty", ""}});
    CHECK(std::regex_match(
        one_write(pipe),
        std::regex{time_pattern + R"( INFO child: started pid=42 command="a b" word=plain empty="")"}));
}

TEST_CASE("A JSON line has what Cloud Logging lifts, and the fields with their types") {
    const Pipe pipe;
    Log log{LogFormat::json, Level::debug, pipe.write_end()};
    log.warning("a \"quoted\" message", {{"pid", std::int64_t{42}}, {"why", "a b"}});
    const auto line = one_object(pipe);
    CHECK(line["severity"] == "WARNING");
    CHECK(line["message"] == "a \"quoted\" message");
    CHECK(std::regex_match(line["time"].get<std::string>(), std::regex{time_pattern}));
    CHECK(line["pid"] == 42);
    CHECK(line["why"] == "a b");
    CHECK(line.size() == 5);
}

TEST_CASE("Each level has Cloud Logging's name, and those below the lowest are not printed") {
    const Pipe pipe;
    for (const auto format : {LogFormat::text, LogFormat::json}) {
        Log log{format, Level::debug, pipe.write_end()};
        for (const auto& [level, name] : std::vector<std::pair<Level, std::string>>{{Level::debug, "DEBUG"},
                                                                                    {Level::info, "INFO"},
                                                                                    {Level::warning, "WARNING"},
                                                                                    {Level::error, "ERROR"}}) {
            log.write({level, "x"});
            CHECK(one_write(pipe).find(name) != std::string::npos);
        }
    }
    Log quiet{LogFormat::text, Level::warning, pipe.write_end()};
    quiet.debug("x");
    quiet.info("x");
    CHECK(pipe.writes().empty());
    quiet.warning("x");
    quiet.error("x");
    CHECK(pipe.writes().size() == 2);
}

TEST_CASE("One event stays one line, whatever it holds") {
    const Pipe pipe;
    const std::string hostile = "a\nb\r\x1b[31m\"\\ \xff \xc3\xa9";
    Log text{LogFormat::text, Level::debug, pipe.write_end()};
    text.info(hostile, {{"field", hostile}});
    const auto line = one_write(pipe);
    CHECK(line.find('\x1b') == std::string::npos);
    CHECK(line.find('\r') == std::string::npos);
    Log json{LogFormat::json, Level::debug, pipe.write_end()};
    json.info(hostile, {{"field", hostile}});
    const std::string readable = "a\nb\r\x1b[31m\"\\ \xef\xbf\xbd \xc3\xa9";
    const auto object = one_object(pipe);
    CHECK(object["message"] == readable);
    CHECK(object["field"] == readable);
}

TEST_CASE("A field that is one word is escaped as well") {
    const Pipe pipe;
    Log log{LogFormat::text, Level::debug, pipe.write_end()};
    log.info("x", {{"one", "\x1b[31m"}, {"two", "a\x01"}, {"three", "\xff"}, {"four", "\xc3\xa9"}});
    CHECK(
        one_write(pipe).ends_with(" x one=\"\\u001b[31m\" two=\"a\\u0001\" three=\"\xef\xbf\xbd\" four=\"\xc3\xa9\""));
}

TEST_CASE("A line that is too long is cut to what one write can't mix with others") {
    const Pipe pipe;
    const std::string much(20'000, 'x');
    Log text{LogFormat::text, Level::debug, pipe.write_end()};
    text.info(much, {{"field", much}});
    CHECK(one_write(pipe).size() > 2000);
    Log json{LogFormat::json, Level::debug, pipe.write_end()};
    json.info(much, {{"field", much}, {"pid", std::int64_t{42}}});
    const auto object = one_object(pipe);
    CHECK(object["message"].get<std::string>().size() == 2000);
    CHECK_FALSE(object.contains("field"));
    CHECK(object["pid"] == 42);
}

TEST_CASE("A message that is too long because of what is escaped in it is cut, and is still JSON") {
    const Pipe pipe;
    Log json{LogFormat::json, Level::debug, pipe.write_end()};
    for (const char character : {'\x01', '\xff', '"'}) {
        CAPTURE(character);
        json.info(std::string(2000, character), {{"pid", std::int64_t{42}}});
        const auto object = one_object(pipe);
        CHECK(object["message"].get<std::string>().size() >= 500);
        CHECK(object["pid"] == 42);
    }
}

TEST_CASE("What a full pipe does not take is dropped, counted and reported") {
    const Pipe pipe;
    Log log{LogFormat::json, Level::debug, pipe.write_end()};
    constexpr int lines = 1000;
    for (int i = 0; i < lines; ++i) {
        log.info("line");
    }
    const auto taken = static_cast<int>(pipe.writes().size());
    CHECK(taken > 0);
    CHECK(taken < lines);
    log.info("after");
    const auto writes = pipe.writes();
    REQUIRE(writes.size() == 2);
    const auto report = nlohmann::json::parse(writes[0]);
    CHECK(report["severity"] == "WARNING");
    CHECK(report["message"] == "log: lines were dropped because nobody read the log");
    CHECK(report["dropped"] == lines - taken);
    CHECK(nlohmann::json::parse(writes[1])["message"] == "after");
    log.info("once");
    CHECK(pipe.writes().size() == 1);
}
