#pragma once

#include <algorithm>
#include <string>

namespace supervisor {

/// Text of others as a message may repeat it: one line of ASCII, with a question mark in place of every other character.
/// So it can neither look like another message nor command a terminal.
inline std::string printable(std::string text) {
    std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
}

}  // namespace supervisor
