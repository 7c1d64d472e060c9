#include "health/metrics_text.hpp"

namespace supervisor {
namespace {

/// A help text has no quotes that would have to be escaped.
std::string escaped(std::string_view text, bool quotes) {
    std::string found;
    for (const char character : text) {
        if (character == '\n') {
            found += "\\n";
            continue;
        }
        if (character == '\\' || (quotes && character == '"')) {
            found += '\\';
        }
        found += character;
    }
    return found;
}

std::string_view name_of(MetricsText::Type type) {
    switch (type) {
        case MetricsText::Type::counter: return "counter";
        case MetricsText::Type::gauge: return "gauge";
        case MetricsText::Type::histogram: return "histogram";
    }
    return "untyped";
}

}  // namespace

std::string decimal(std::int64_t value, unsigned digits) {
    // The smallest number has no positive counterpart of its own type.
    auto text = std::to_string(value < 0 ? -static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value));
    if (text.size() <= digits) {
        text.insert(0, digits + 1 - text.size(), '0');
    }
    if (digits > 0) {
        text.insert(text.size() - digits, 1, '.');
        text.resize(text.find_last_not_of('0') + 1);
        if (text.back() == '.') {
            text.pop_back();
        }
    }
    return value < 0 ? '-' + text : text;
}

MetricsText& MetricsText::begin(std::string_view name, Type type, std::string_view help) {
    name_ = name;
    text_.append("# HELP ").append(name_).append(" ").append(escaped(help, /*quotes=*/false)).append("\n");
    text_.append("# TYPE ").append(name_).append(" ").append(name_of(type)).append("\n");
    return *this;
}

MetricsText& MetricsText::sample(std::uint64_t value, Labels labels) {
    line("", labels, std::to_string(value));
    return *this;
}

MetricsText& MetricsText::sample(std::int64_t value, unsigned digits, Labels labels) {
    line("", labels, decimal(value, digits));
    return *this;
}

MetricsText& MetricsText::samples(const Histogram& histogram) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
        count += histogram.counts()[i];
        const auto bound = i < histogram.bounds().size()
                               ? decimal(histogram.bounds()[i].count(), digits_of_milliseconds)
                               : std::string{"+Inf"};
        line("_bucket", {{"le", bound}}, std::to_string(count));
    }
    line("_sum", {}, decimal(histogram.sum().count(), digits_of_milliseconds));
    line("_count", {}, std::to_string(count));
    return *this;
}

void MetricsText::line(std::string_view suffix, Labels labels, const std::string& value) {
    text_.append(name_).append(suffix);
    char before = '{';
    for (const auto& [label, text] : labels) {
        text_ += before;
        text_.append(label).append("=\"").append(escaped(text, /*quotes=*/true)).append("\"");
        before = ',';
    }
    text_.append(labels.size() > 0 ? "} " : " ").append(value).append("\n");
}

}  // namespace supervisor
