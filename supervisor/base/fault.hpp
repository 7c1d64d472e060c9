#pragma once

#include <boost/system/result.hpp>

#include <string>

namespace supervisor {

/// Why something could not be done: one line that says what was tried, on what, and why it failed.
/// It never holds a secret or the unfiltered answer of a server.
struct Fault {
    std::string why;
};

/// A value or the Fault that prevented it (std::expected is C++23).
template <class T>
using Result = boost::system::result<T, Fault>;

}  // namespace supervisor
