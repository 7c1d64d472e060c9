#pragma once

#include "log.hpp"
#include "settings.hpp"

#include <boost/asio/io_context.hpp>

#include <memory>

namespace supervisor {

/// Runs the child and keeps its token fresh until the child has ended or we are told to: the one place where the
/// schedule, the rotation and the readiness question meet the network, the clocks and the processes. It decides
/// nothing itself; it performs what those policies say, on one loop and one thread.
///
/// The signals of handled_signals() must be blocked already, so that none is lost before run().
class Supervise {
public:
    Supervise(boost::asio::io_context& loop, Settings settings, Environment environment, Log& log);
    ~Supervise();
    Supervise(const Supervise&) = delete;
    Supervise& operator=(const Supervise&) = delete;

    /// Returns the exit code, --map-exit applied.
    int run();

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace supervisor
