#pragma once

#include <string>

namespace supervisor {

/// Asks `url` once, as a probe of an image without curl does (Dockerfile reference, HEALTHCHECK: 0 is healthy, 1 is not).
/// Returns 0 for an answer from 200 to 299; else 1, with why in one line on standard error. Takes 5 s at most.
int probe(const std::string& url);

}  // namespace supervisor
