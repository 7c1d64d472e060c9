#include "child/exit_code_mapping.hpp"

#include <catch2/catch_test_macros.hpp>

using supervisor::map_exit_code;

TEST_CASE("Every code is passed on unless it is mapped to zero") {
    for (int code = 0; code < 256; ++code) {
        CHECK(map_exit_code(code, {}) == code);
        CHECK(map_exit_code(code, {143, 3}) == (code == 143 || code == 3 ? 0 : code));
    }
}
