#pragma once

#include "base/histogram.hpp"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace supervisor {

/// Writes metrics in Prometheus' text format, version 0.0.4
/// (https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details). Numbers are integers or have a
/// fixed number of digits behind the point, so that nothing here depends on floating point or a locale. Pure.
class MetricsText {
public:
    static constexpr std::string_view content_type = "text/plain; version=0.0.4; charset=utf-8";
    static constexpr unsigned digits_of_milliseconds = 3;
    static constexpr unsigned digits_of_microseconds = 6;

    enum class Type { counter, gauge, histogram };
    using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

    /// Begins a metric: what follows are its samples, until the next one begins.
    MetricsText& begin(std::string_view name, Type type, std::string_view help);
    MetricsText& sample(std::uint64_t value, Labels labels = {});
    /// `value` is in units of the digit that is `digits` behind the point: 1500 with 3 digits is 1.5.
    MetricsText& sample(std::int64_t value, unsigned digits, Labels labels = {});
    /// In seconds: a line for each bucket, with those of the smaller ones counted in, their sum and their number.
    MetricsText& samples(const Histogram& histogram);

    [[nodiscard]] const std::string& text() const { return text_; }

private:
    void line(std::string_view suffix, Labels labels, const std::string& value);

    std::string name_{};
    std::string text_{};
};

/// `value` as a decimal number with at most `digits` digits behind the point and no zeros at its end.
std::string decimal(std::int64_t value, unsigned digits);

}  // namespace supervisor
