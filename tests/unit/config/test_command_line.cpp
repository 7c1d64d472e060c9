#include "config/command_line.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>
#include <utility>
#include <vector>

using namespace supervisor;

namespace {

using Words = std::vector<std::string>;
using Options = std::vector<std::pair<std::string, std::string>>;

const std::vector<Option> known{{"--name"}, {"--many", true, true}, {"--on", false}};

CommandLine parse(const Words& arguments) {
    const auto line = parse_command_line(arguments, known);
    REQUIRE(line.has_value());
    return *line;
}

}  // namespace

TEST_CASE("Options come in the order given, with their values") {
    const auto line = parse({"--many", "1", "--name=a=b", "--on", "--many=", "--", "sleep", "--name"});
    CHECK(line.options == Options{{"--many", "1"}, {"--name", "a=b"}, {"--on", ""}, {"--many", ""}});
    CHECK(line.command == Words{"sleep", "--name"});
    CHECK(parse({}).options.empty());
    CHECK(parse({}).command.empty());
}

TEST_CASE("A value may look like an option") {
    CHECK(parse({"--name", "--on"}).options == Options{{"--name", "--on"}});
    CHECK(parse({"--name", "--", "--", "true"}).options == Options{{"--name", "--"}});
}

TEST_CASE("The words behind the separator are the command's, whatever they look like") {
    CHECK(parse({"--", "sh", "-c", "exit 1", "--"}).command == Words{"sh", "-c", "exit 1", "--"});
    CHECK(parse({"--", "--name"}).command == Words{"--name"});
}

TEST_CASE("A usage error names the word in question") {
    for (const auto& [arguments, word] :
         std::vector<std::pair<Words, std::string>>{{{"--other"}, "--other"},
                                                    {{"--other=1"}, "--other=1"},
                                                    {{"-n", "1"}, "-n"},
                                                    {{"--on=1"}, "--on=1"},
                                                    {{"--name"}, "--name"},
                                                    {{"--on", "--on"}, "--on"},
                                                    {{"--name", "a", "--name", "b"}, "--name"},
                                                    {{"sleep", "1"}, "sleep"},
                                                    {{"--on", "sleep", "--", "true"}, "sleep"},
                                                    {{"--"}, "no command"},
                                                    {{"--", ""}, "no command"},
                                                    {{""}, "unexpected argument"}}) {
        CAPTURE(arguments);
        const auto line = parse_command_line(arguments, known);
        REQUIRE_FALSE(line.has_value());
        CHECK(line.error().why.find(word) != std::string::npos);
        CHECK(line.error().why.ends_with("(--help lists the options)"));
    }
}

TEST_CASE("A usage error is one line of printable characters, whatever the word in question holds") {
    for (const auto& arguments : std::vector<Words>{{"--a\nb\x1b[31m"}, {"a\nb\x1b[31m"}, {"--na\n"}, {"-\n"}}) {
        CAPTURE(arguments);
        const auto line = parse_command_line(arguments, known);
        REQUIRE_FALSE(line.has_value());
        CHECK(line.error().why.find_first_of("\n\x1b") == std::string::npos);
    }
    CHECK(parse_command_line({"--a\nb\x1b[31m"}, known).error().why.find("--a?b?[31m") != std::string::npos);
}

TEST_CASE("A command line can be taken apart again and again") {
    for (int i = 0; i < 3; ++i) {
        CHECK(parse({"--name", "a", "--", "true"}).command == Words{"true"});
        CHECK_FALSE(parse_command_line({"--name"}, known).has_value());
    }
}
