#pragma once

#include <string>
#include <string_view>

namespace supervisor {

/// Text that must not be seen. It has no stream operator and no conversion to a string: the only ways to the text are
/// reveal(), which is easy to find in a review, and short_hash(), which is safe to print. The memory is wiped when the object
/// ends or is given another text, and when it is moved from.
///
/// What a library copies (curl's receive buffer, the JSON parser's buffer of the current word, the environment block of
/// a child that is being started) is out of reach. The guard for those copies is PR_SET_DUMPABLE, which main() sets to 0:
/// no core file is written, and no process without CAP_SYS_PTRACE reads our memory (prctl(2), ptrace(2)).
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
    [[nodiscard]] std::string short_hash() const;

    friend bool operator==(const Secret& one, const Secret& other) { return one.text_ == other.text_; }

private:
    void wipe() noexcept;

    std::string text_;
};

/// Overwrites `text`, in a way that the compiler does not remove, and empties it.
void wipe(std::string& text) noexcept;

/// Appends to a string that may hold a secret: the memory that the string grows out of is wiped before it is freed.
void append_wiping(std::string& text, std::string_view more);

}  // namespace supervisor
