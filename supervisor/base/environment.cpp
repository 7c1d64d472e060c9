#include "base/environment.hpp"

#include <unistd.h>

#include <string_view>

namespace supervisor {

Environment read_environment() {
    Environment variables;
    for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view assignment{*entry};
        const auto equals = assignment.find('=');
        if (equals != std::string_view::npos) {
            variables.emplace(assignment.substr(0, equals), assignment.substr(equals + 1));
        }
    }
    return variables;
}

std::string value_of(const Environment& environment, const std::string& name) {
    const auto variable = environment.find(name);
    return variable != environment.end() ? variable->second : std::string{};
}

}  // namespace supervisor
