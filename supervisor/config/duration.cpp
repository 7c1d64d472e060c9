#include "config/duration.hpp"

#include <array>
#include <charconv>
#include <cstdint>
#include <limits>

namespace supervisor {
namespace {

struct Unit {
    std::string_view name;
    std::int64_t milliseconds;
};

constexpr std::array<Unit, 4> units{{{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    constexpr auto limit = std::numeric_limits<std::int64_t>::max();
    std::int64_t total = 0;
    std::size_t next_unit = 0;
    if (text.empty()) {
        return std::nullopt;
    }
    while (!text.empty()) {
        std::int64_t count = 0;
        // from_chars would take a minus sign, which no duration has.
        if (text.front() < '0' || text.front() > '9') {
            return std::nullopt;
        }
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
        if (error != std::errc{}) {
            return std::nullopt;
        }
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        const auto name = text.substr(0, text.find_first_of("0123456789"));
        while (next_unit < units.size() && units[next_unit].name != name) {
            ++next_unit;
        }
        if (next_unit == units.size()) {
            return std::nullopt;
        }
        const auto unit = units[next_unit++].milliseconds;
        if (count > (limit - total) / unit) {
            return std::nullopt;
        }
        total += count * unit;
        text.remove_prefix(name.size());
    }
    return std::chrono::milliseconds{total};
}

std::string to_string(std::chrono::milliseconds duration) {
    auto rest = duration.count();
    std::string text;
    for (const auto& unit : units) {
        if (const auto count = rest / unit.milliseconds; count != 0) {
            text += std::to_string(count);
            text += unit.name;
            rest -= count * unit.milliseconds;
        }
    }
    return text.empty() ? "0s" : text;
}

}  // namespace supervisor
