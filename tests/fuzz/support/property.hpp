#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace supervisor::fuzz {

/// A property that no input may violate. libFuzzer keeps the input on which the process ends.
inline void require(bool holds, const char* property, const std::string& why = {}) {
    if (!holds) {
        std::fprintf(stderr, "violated: %s%s%s\n", property, why.empty() ? "" : ": ", why.c_str());
        std::abort();
    }
}

/// The input as text. libFuzzer gives each input a piece of memory of exactly its size, so that AddressSanitizer notices
/// a read beyond its end.
inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

/// Takes the text up to `separator` from the front of `rest`.
inline std::string_view take(std::string_view& rest, char separator) {
    const auto end = rest.find(separator);
    const auto piece = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return piece;
}

/// Whether a terminal or a log shows the text as one line: it has no control characters.
inline bool is_one_line(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; });
}

}  // namespace supervisor::fuzz
