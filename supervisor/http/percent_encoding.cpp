#include "http/percent_encoding.hpp"

namespace supervisor {

std::string percent_encoded(std::string_view text) {
    constexpr std::string_view unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string encoded;
    // The text may be a token: growing would leave copies of its start in freed memory.
    encoded.reserve(3 * text.size());
    for (const char character : text) {
        if (unreserved.find(character) != std::string_view::npos) {
            encoded += character;
        } else {
            const auto byte = static_cast<unsigned char>(character);
            encoded += '%';
            encoded += digits[byte >> 4U];
            encoded += digits[byte & 0xFU];
        }
    }
    return encoded;
}

}  // namespace supervisor
