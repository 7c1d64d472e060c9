#include "child/working_directory.hpp"

#include "own_process.hpp"
#include "test_folder.hpp"

#include <catch2/catch_test_macros.hpp>
#include <grp.h>

using namespace supervisor;
namespace fs = std::filesystem;

namespace {

std::string left_from(const std::string& directory, const std::function<void()>& between = [] {}) {
    return in_own_process([&] {
        fs::current_path(directory);
        between();
        const auto left = leave_working_directory();
        std::error_code gone;
        const auto here = fs::current_path(gone);
        return left.value_or("nothing") + " -> " + (gone ? "gone" : here.string());
    });
}

}  // namespace

TEST_CASE("We go to the root and tell where we were") {
    const TestFolder folder;
    const auto path = fs::canonical(folder.path()).string();
    CHECK(left_from(path) == path + " -> /");
    CHECK(left_from("/") == "/ -> /");
}

TEST_CASE("We stay in a directory to which no path leads back") {
    const TestFolder folder;
    const auto path = folder.path("inner");
    fs::create_directory(path);
    CHECK(left_from(path, [&path] { fs::remove(path); }) == "nothing -> gone");

    // Another directory has taken its name.
    fs::create_directory(path);
    const auto replaced = left_from(path, [&] {
        fs::rename(path, folder.path("renamed"));
        fs::create_directory(path);
        fs::remove(folder.path("renamed"));
    });
    CHECK(replaced == "nothing -> gone");
}

TEST_CASE("We stay in a directory that we may not enter again") {
    const TestFolder folder;
    const auto path = fs::canonical(folder.path()).string();
    const auto result = left_from(path, [&path] {
        ::chmod(path.c_str(), 0600);
        if (::geteuid() == 0 && (::setgroups(0, nullptr) != 0 || ::setresuid(65534, 65534, 65534) != 0)) {
            throw std::runtime_error("setresuid");
        }
    });
    CHECK(result == "nothing -> " + path);
}
