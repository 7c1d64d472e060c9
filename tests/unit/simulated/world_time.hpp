#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <random>

namespace simulated {

using supervisor::milliseconds;
using supervisor::Moment;

/// Which of the process's clocks go on while its instance is frozen.
enum class Counting { both, wall_only, boot_only };

/// The world's time, and the readings that the two clocks of a process derive from it.
class Clock {
public:
    [[nodiscard]] milliseconds world() const { return world_; }
    [[nodiscard]] Moment now() const { return {world_ + wall_offset_, world_ + boot_offset_}; }

    void advance_to(milliseconds world) { world_ = world; }
    void freeze(milliseconds length, Counting counting) {
        world_ += length;
        if (counting == Counting::wall_only) {
            boot_offset_ -= length;
        } else if (counting == Counting::boot_only) {
            wall_offset_ -= length;
        }
    }
    void step_wall(milliseconds by) { wall_offset_ += by; }

private:
    milliseconds world_{};
    milliseconds wall_offset_{1'795'000'000'000};
    milliseconds boot_offset_{4'711'000};
};

/// Random numbers that are the same with every standard library, so that a printed seed repeats a run.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}

    /// 0 <= unit() < 1
    double unit() { return static_cast<double>(engine_() >> 11U) * 0x1p-53; }
    bool chance(double probability) { return unit() < probability; }
    milliseconds between(milliseconds least, milliseconds most) {
        return least +
               milliseconds{static_cast<milliseconds::rep>(unit() * static_cast<double>((most - least).count()))};
    }
    std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }

private:
    std::mt19937_64 engine_;
};

}  // namespace simulated
