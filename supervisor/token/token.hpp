#pragma once

#include "base/secret.hpp"

#include <chrono>

namespace supervisor {

/// An access token as the metadata server gave it out: the text, and the life that it had left when it was asked for.
struct Token {
    Secret text;
    std::chrono::seconds expires_in{};
};

}  // namespace supervisor
