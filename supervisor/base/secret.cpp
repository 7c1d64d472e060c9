#include "base/secret.hpp"

#include <mbedtls/md.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <utility>

namespace supervisor {

void wipe(std::string& text) noexcept {
    // The whole capacity, since a string that shrank keeps its old bytes behind its end.
    text.resize(text.capacity());
    ::explicit_bzero(text.data(), text.size());
    text.clear();
}

void append_wiping(std::string& text, std::string_view more) {
    if (more.size() > text.capacity() - text.size()) {
        std::string larger;
        larger.reserve(std::max(2 * text.capacity(), text.size() + more.size()));
        larger = text;
        wipe(text);
        text = std::move(larger);
    }
    text.append(more);
}

Secret& Secret::operator=(const Secret& other) {
    if (this != &other) {
        wipe();
        text_ = other.text_;
    }
    return *this;
}

Secret::Secret(Secret&& other) noexcept : text_(std::move(other.text_)) { other.wipe(); }

Secret& Secret::operator=(Secret&& other) noexcept {
    if (this != &other) {
        wipe();
        text_ = std::move(other.text_);
        other.wipe();
    }
    return *this;
}

void Secret::wipe() noexcept { supervisor::wipe(text_); }

std::string Secret::short_hash() const {
    std::array<unsigned char, 32> digest{};
    mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), reinterpret_cast<const unsigned char*>(text_.data()),
               text_.size(), digest.data());
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hash;
    for (std::size_t i = 0; i < 4; ++i) {
        hash += digits[digest[i] >> 4U];
        hash += digits[digest[i] & 0xFU];
    }
    return hash;
}

}  // namespace supervisor
