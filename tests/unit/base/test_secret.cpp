#include "base/secret.hpp"

#include <catch2/catch_test_macros.hpp>

#include <ostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

using namespace supervisor;

template <class T>
concept Printable = requires(std::ostream& out, const T& value) { out << value; };

// A secret must not reach a log by accident: neither a stream nor a string takes one.
static_assert(!Printable<Secret>);
static_assert(!std::is_convertible_v<Secret, std::string>);
static_assert(!std::is_convertible_v<Secret, std::string_view>);
static_assert(!std::is_convertible_v<std::string, Secret>);

TEST_CASE("A secret's short hash is the start of its SHA-256") {
    CHECK(Secret{""}.short_hash() == "e3b0c442");
    CHECK(Secret{"abc"}.short_hash() == "ba7816bf");
    CHECK(Secret{"ya29.one"}.short_hash() != Secret{"ya29.two"}.short_hash());
}

TEST_CASE("Tokens that are padded to the same length have different tags") {
    const std::string padding(900, '.');
    CHECK(Secret{"ya29.one" + padding}.short_hash() != Secret{"ya29.two" + padding}.short_hash());
}

TEST_CASE("Secrets are equal when their texts are") {
    CHECK(Secret{"a"} == Secret{"a"});
    CHECK_FALSE(Secret{"a"} == Secret{"a."});
}

TEST_CASE("A secret that was moved from is empty") {
    for (const std::string& text : {std::string{"short"}, std::string(1000, 'x')}) {
        Secret from{text};
        Secret to{std::move(from)};
        CHECK(to.reveal() == text);
        CHECK(from.empty());  // NOLINT(bugprone-use-after-move): that is what is tested
        Secret assigned{"old"};
        assigned = std::move(to);
        CHECK(assigned.reveal() == text);
        CHECK(to.empty());  // NOLINT(bugprone-use-after-move)
    }
}

TEST_CASE("Wiping overwrites the text where it stood") {
    std::string text(200, 's');
    const char* place = text.data();
    wipe(text);
    CHECK(text.empty());
    CHECK(text.data() == place);
    CHECK(std::string(place, text.capacity()).find('s') == std::string::npos);
}

TEST_CASE("Appending keeps the text and wipes what it grows out of") {
    std::string text;
    for (int i = 0; i < 1000; ++i) {
        append_wiping(text, "0123456789");
    }
    append_wiping(text, "");
    CHECK(text.size() == 10'000);
    CHECK(text.substr(0, 12) == "012345678901");
    CHECK(text.substr(9'995) == "56789");
}
