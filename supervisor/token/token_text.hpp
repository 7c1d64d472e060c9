#pragma once

#include "base/fault.hpp"
#include "token/token.hpp"

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace supervisor {

/// Takes the token out of an answer's JSON object: `name` is a member of 1 to 8192 characters of visible ASCII. The text is moved
/// and not copied; the JSON parser's own buffer of the current word can't be wiped, for which see Secret.
Result<Secret> take_token(nlohmann::json& object, const std::string& name);

/// Reads `expires_in`, an integer from 1 to 86400.
Result<std::chrono::seconds> read_expires_in(const nlohmann::json& object);

/// The beginning of a refusal's text for the log, on one line, behind a colon; nothing of a text that looks as if it held a token.
/// A good answer is never quoted, because its body does hold one.
std::string quote_refusal(std::string_view body, std::size_t longest = 120);

}  // namespace supervisor
