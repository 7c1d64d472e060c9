// Durations as the settings have them: config/duration.
#include "config/duration.hpp"

#include "support/property.hpp"

#include <cstring>

using namespace supervisor;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::as_text(data, size);
    if (const auto duration = parse_duration(text)) {
        fuzz::require(duration->count() >= 0, "a duration is not negative");
        fuzz::require(text.find_first_not_of("0123456789hms") == std::string_view::npos,
                      "a duration has digits and units and nothing else");
        fuzz::require(parse_duration(to_string(*duration)) == duration, "a duration is read back as it was written");
    }
    std::uint64_t number = 0;
    std::memcpy(&number, data, std::min(size, sizeof number));
    const std::chrono::milliseconds any{static_cast<std::int64_t>(number >> 1U)};
    fuzz::require(parse_duration(to_string(any)) == any, "any duration is read back as it was written");
    return 0;
}
