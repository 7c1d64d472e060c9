#include "exit_code.hpp"

#include <catch2/catch_test_macros.hpp>

using supervisor::exit_code;

TEST_CASE("Every code is passed on unless it is mapped to zero") {
    for (int code = 0; code < 256; ++code) {
        CHECK(exit_code(code, {}) == code);
        CHECK(exit_code(code, {143, 3}) == (code == 143 || code == 3 ? 0 : code));
    }
}
