#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace supervisor {

/// Text that must not be seen. It has no stream operator and no conversion to a string: the only ways to it are
/// reveal(), which is easy to find in a review, and tag(), which is safe to print. Its memory is wiped at the end.
class Secret {
public:
    Secret() = default;
    explicit Secret(std::string text) : text_(std::move(text)) {}
    Secret(const Secret&) = default;
    Secret& operator=(const Secret& other);
    Secret(Secret&& other) noexcept;
    Secret& operator=(Secret&& other) noexcept;
    ~Secret() { wipe(); }

    [[nodiscard]] const std::string& reveal() const { return text_; }
    [[nodiscard]] bool empty() const { return text_.empty(); }

    /// Eight hexadecimal digits of the text's SHA-256: they tell two secrets apart in a log and give nothing away.
    [[nodiscard]] std::string tag() const;

    friend bool operator==(const Secret& one, const Secret& other) { return one.text_ == other.text_; }

private:
    void wipe() noexcept;

    std::string text_;
};

/// Overwrites `text` in a way the compiler keeps, and empties it.
void wipe(std::string& text) noexcept;

/// An access token as the metadata server gave it out: the text and the life it still had when it was asked for.
struct Token {
    Secret text;
    std::chrono::seconds expires_in{};
};

}  // namespace supervisor
