#include "health/metrics_text.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <limits>
#include <string>

using namespace supervisor;
using namespace std::chrono_literals;
using Type = MetricsText::Type;

TEST_CASE("A metric has its help, its type and its samples") {
    MetricsText text;
    text.begin("things_total", Type::counter, "How many things.").sample(std::uint64_t{7});
    text.begin("level", Type::gauge, "How high.").sample(std::int64_t{-1500}, 3);
    text.begin("nothing", Type::gauge, "No sample.");
    CHECK(text.text() ==
          "# HELP things_total How many things.\n"
          "# TYPE things_total counter\n"
          "things_total 7\n"
          "# HELP level How high.\n"
          "# TYPE level gauge\n"
          "level -1.5\n"
          "# HELP nothing No sample.\n"
          "# TYPE nothing gauge\n");
}

TEST_CASE("Labels are in their order, and what would end a value or the line is escaped") {
    MetricsText text;
    text.begin("info", Type::gauge, "One \"line\",\nwith a \\ in it.")
        .sample(std::uint64_t{1}, {{"a", "back\\slash"}, {"b", "quo\"te"}, {"c", "two\nlines"}, {"d", ""}});
    CHECK(text.text() ==
          "# HELP info One \"line\",\\nwith a \\\\ in it.\n"
          "# TYPE info gauge\n"
          "info{a=\"back\\\\slash\",b=\"quo\\\"te\",c=\"two\\nlines\",d=\"\"} 1\n");
}

TEST_CASE("Buckets are cumulative, and the last one is infinite and equals the count") {
    Histogram histogram{5ms, 250ms, 1s, 2500ms, 10s};
    for (const milliseconds duration : {5ms, 6ms, 250ms, 900ms, 3000ms, 11'000ms, 12'000ms}) {
        histogram.observe(duration);
    }
    MetricsText text;
    text.begin("took_seconds", Type::histogram, "It took.").samples(histogram);
    CHECK(text.text() ==
          "# HELP took_seconds It took.\n"
          "# TYPE took_seconds histogram\n"
          "took_seconds_bucket{le=\"0.005\"} 1\n"
          "took_seconds_bucket{le=\"0.25\"} 3\n"
          "took_seconds_bucket{le=\"1\"} 4\n"
          "took_seconds_bucket{le=\"2.5\"} 4\n"
          "took_seconds_bucket{le=\"10\"} 5\n"
          "took_seconds_bucket{le=\"+Inf\"} 7\n"
          "took_seconds_sum 27.161\n"
          "took_seconds_count 7\n");
}

TEST_CASE("A histogram without an observation has all its lines") {
    MetricsText text;
    text.begin("took_seconds", Type::histogram, "It took.").samples(Histogram{1s});
    CHECK(
        text.text().ends_with("took_seconds_bucket{le=\"1\"} 0\n"
                              "took_seconds_bucket{le=\"+Inf\"} 0\n"
                              "took_seconds_sum 0\n"
                              "took_seconds_count 0\n"));
}

TEST_CASE("A number has no zeros at its end and no exponent") {
    CHECK(decimal(0, 0) == "0");
    CHECK(decimal(0, 3) == "0");
    CHECK(decimal(1, 3) == "0.001");
    CHECK(decimal(10, 3) == "0.01");
    CHECK(decimal(1000, 3) == "1");
    CHECK(decimal(10'000, 3) == "10");
    CHECK(decimal(1'795'000'000'123, 3) == "1795000000.123");
    CHECK(decimal(100, 0) == "100");
    CHECK(decimal(-5, 3) == "-0.005");
    CHECK(decimal(-100, 0) == "-100");
    CHECK(decimal(std::numeric_limits<std::int64_t>::max(), 6) == "9223372036854.775807");
    CHECK(decimal(std::numeric_limits<std::int64_t>::min(), 0) == "-9223372036854775808");
}
