#pragma once

#include "base/fault.hpp"
#include "base/secret.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace supervisor {

/// The contents of a file that may hold a secret, 64 KiB at most.
Result<Secret> read_secret_file(const std::string& path);

/// The token in what another platform gave out: all of it, or one field of a JSON object.
Result<Secret> platform_token(std::string_view contents, const std::optional<std::string>& json_field);

}  // namespace supervisor
