#include "config/duration.hpp"

#include <catch2/catch_test_macros.hpp>

#include <random>
#include <string>

using namespace supervisor;
using namespace std::chrono_literals;

TEST_CASE("A duration is read with its units") {
    struct Row {
        const char* text;
        std::chrono::milliseconds duration;
    };
    for (const auto& [text, duration] :
         {Row{"90s", 90s}, Row{"55m", 55min}, Row{"1h30m", 90min}, Row{"250ms", 250ms}, Row{"0s", 0ms},
          Row{"1h1m1s1ms", 3'661'001ms}, Row{"2h5ms", 7'200'005ms}, Row{"007s", 7s}, Row{"1s500ms", 1500ms}}) {
        CAPTURE(text);
        CHECK(parse_duration(text) == duration);
    }
}

TEST_CASE("What is no duration is refused") {
    for (const char* text : {"",
                             "s",
                             "5",
                             "1.5s",
                             "-5s",
                             "+5s",
                             " 5s",
                             "5s ",
                             "5 s",
                             "5S",
                             "1m1h",
                             "1s1s",
                             "5d",
                             "1h30",
                             "5sec",
                             "ms",
                             "99999999999999999999s",
                             "9223372036854775807h",
                             "0x5s",
                             "5s\n",
                             "1_000s"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_duration(text).has_value());
    }
}

TEST_CASE("A duration is written with the units that it is read with") {
    CHECK(to_string(0ms) == "0s");
    CHECK(to_string(55min) == "55m");
    CHECK(to_string(90min) == "1h30m");
    CHECK(to_string(1250ms) == "1s250ms");
}

TEST_CASE("Any duration is read back as it was written") {
    std::mt19937_64 random{20261124};
    for (int i = 0; i < 20'000; ++i) {
        const std::chrono::milliseconds duration{static_cast<std::int64_t>(random() >> (1 + random() % 60))};
        CAPTURE(duration.count());
        CHECK(parse_duration(to_string(duration)) == duration);
    }
}
