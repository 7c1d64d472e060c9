#include "config/command_line.hpp"

#include "base/printable.hpp"

#include <getopt.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace supervisor {
namespace {

std::vector<option> getopt_table(const std::vector<Option>& known) {
    std::vector<option> table;
    for (std::size_t i = 0; i < known.size(); ++i) {
        // getopt wants the name without its dashes, and answers with the index.
        table.push_back({known[i].flag.c_str() + 2, known[i].takes_value ? required_argument : no_argument, nullptr,
                         static_cast<int>(i)});
    }
    table.push_back({});
    return table;
}

Fault usage(const std::string& what) { return Fault{what + " (--help lists the options)"}; }

}  // namespace

Result<CommandLine> parse_command_line(std::vector<std::string> arguments, const std::vector<Option>& known) {
    const auto table = getopt_table(known);
    std::string name = "prefect-supervisor";
    std::vector<char*> argv{name.data()};
    for (auto& argument : arguments) {
        argv.push_back(argument.data());
    }
    argv.push_back(nullptr);

    CommandLine line;
    std::set<int> seen;
    // Zero restarts getopt; the plus stops it at the first word that is no option, and the colon leaves messages to us.
    ::optind = 0;
    for (;;) {
        const auto word = static_cast<std::size_t>(std::max(::optind, 1));
        const int found = ::getopt_long(static_cast<int>(argv.size()) - 1, argv.data(), "+:", table.data(), nullptr);
        if (found == -1) {
            break;
        }
        if (found == ':') {
            return usage(printable(argv[word]) + " needs a value");
        }
        if (found == '?') {
            return usage("unknown or misused option " + printable(argv[word]));
        }
        const auto& option = known[static_cast<std::size_t>(found)];
        if (!seen.insert(found).second && !option.repeatable) {
            return usage(option.flag + " is given twice");
        }
        line.options.emplace_back(option.flag, option.takes_value ? ::optarg : "");
    }

    const auto rest = static_cast<std::size_t>(::optind);
    const bool separated = rest > 1 && std::string_view{argv[rest - 1]} == "--";
    line.command.assign(argv.begin() + ::optind, argv.end() - 1);
    if (!separated && !line.command.empty()) {
        return usage("unexpected argument " + printable(line.command.front()) + ": a command comes after --");
    }
    if (separated && (line.command.empty() || line.command.front().empty())) {
        return usage("no command after --");
    }
    return line;
}

}  // namespace supervisor
