#pragma once

#include <string>
#include <string_view>

namespace supervisor {

/// Percent-encodes every byte but the unreserved ones of RFC 3986 section 2.3: `A-Z a-z 0-9 . _ ~ -`.
std::string percent_encoded(std::string_view text);

}  // namespace supervisor
