#pragma once

#include <string>

namespace supervisor {

/// Asks `url` once, as a probe of an image without curl does (Dockerfile reference, HEALTHCHECK: 0 is healthy, 1 is not).
/// Returns 0 for an answer from 200 to 299; else 1, with the reason in one line on standard error. Takes 5 s at most.
/// TERM, INT, HUP and QUIT end it at once, with 128 + the signal's number, as a shell reports it for curl. The caller has
/// blocked these signals.
int probe(const std::string& url);

}  // namespace supervisor
