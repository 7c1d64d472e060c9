#pragma once

#include <string>

namespace supervisor {

// What the shells read to complete the command line: flags, words that are values, files, and the words of COMMAND.
std::string bash_completion();
std::string zsh_completion();

}  // namespace supervisor
