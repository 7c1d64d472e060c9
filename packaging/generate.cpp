// Writes the manual page and the shells' completions to a folder. The build runs it; it is no part of the program that is shipped.
//
//   generate FOLDER DATE_FILE        DATE_FILE has the date that the manual page bears
#include "completions.hpp"
#include "man_page.hpp"

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

bool write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream file{path, std::ios::binary};
    file << text;
    file.close();
    if (!file) {
        std::fprintf(stderr, "generate: can't write %s\n", path.c_str());
    }
    return !file.fail();
}

int generate(const std::filesystem::path& folder, const char* date_file) {
    std::string date;
    if (!std::getline(std::ifstream{date_file}, date)) {
        std::fprintf(stderr, "generate: %s has no date\n", date_file);
        return 1;
    }
    const bool written = write(folder / "prefect-supervisor.8", supervisor::man_page(date)) &&
                         write(folder / "prefect-supervisor.bash", supervisor::bash_completion()) &&
                         write(folder / "prefect-supervisor.zsh", supervisor::zsh_completion());
    return written ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc == 3) {
            return generate(argv[1], argv[2]);
        }
        std::fputs("usage: generate FOLDER DATE_FILE\n", stderr);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "generate: %s\n", error.what());
    }
    return 2;
}
