#include "delivery/password_file.hpp"

#include "child/child_process.hpp"
#include "own_process.hpp"
#include "test_folder.hpp"

#include <catch2/catch_test_macros.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <utility>

using namespace supervisor;
namespace fs = std::filesystem;

namespace {

const Secret first{"ya29.first"};
const Secret second{"ya29.second"};
const std::string first_line = "*:*:*:*:ya29.first\n";
const std::string second_line = "*:*:*:*:ya29.second\n";

unsigned mode_of(const fs::path& path) {
    struct stat status{};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status.st_mode & 07777U;
}

std::string text_of(const std::string& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

PasswordFile made_in(const TestFolder& folder) {
    auto file = PasswordFile::create({folder.path()}, first);
    REQUIRE(file.has_value());
    return std::move(*file);
}

fs::path directory_of(const PasswordFile& file) { return fs::path{file.path()}.parent_path(); }

/// A process that has a password file in the folder and a child, until it is killed.
class Owner {
public:
    explicit Owner(const TestFolder& folder, bool has_locks = true) {
        REQUIRE(::pipe(ends_.data()) == 0);
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            if (!has_locks && !refuse_system_calls({SYS_flock}, ENOSYS)) {
                ::_exit(1);
            }
            live(folder);
        }
        ::close(ends_[1]);
        REQUIRE(::read(ends_[0], &child_, sizeof child_) == sizeof child_);
    }
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;
    ~Owner() {
        kill();
        ::kill(child_, SIGKILL);
        ::close(ends_[0]);
    }

    void kill() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            CHECK(code_of(std::exchange(pid_, -1)) == 128 + SIGKILL);
        }
    }

private:
    [[noreturn]] void live(const TestFolder& folder) {
        const auto file = PasswordFile::create({folder.path()}, first);
        const auto child = launch({"sleep", "600"}, {{"PATH", "/usr/bin:/bin"}});
        if (!file || !child || ::write(ends_[1], &*child, sizeof *child) != sizeof *child) {
            ::_exit(1);
        }
        for (;;) {
            ::pause();
        }
    }

    std::array<int, 2> ends_{};
    pid_t pid_ = -1;
    pid_t child_ = -1;
};

}  // namespace

TEST_CASE("A password file has one line in a private directory and goes with its object") {
    const TestFolder folder;
    fs::path directory;
    {
        const auto file = made_in(folder);
        directory = directory_of(file);
        CHECK(directory.parent_path() == folder.path());
        CHECK(mode_of(directory) == 0700);
        CHECK(mode_of(file.path()) == 0600);
        CHECK(text_of(file.path()) == first_line);
    }
    CHECK_FALSE(fs::exists(directory));
}

TEST_CASE("A password file that was moved is removed once") {
    const TestFolder folder;
    std::optional<PasswordFile> kept;
    {
        auto file = made_in(folder);
        kept.emplace(std::move(file));
    }
    CHECK(text_of(kept->path()) == first_line);
    *kept = made_in(folder);
    CHECK(std::distance(fs::directory_iterator{folder.path()}, {}) == 1);
    kept.reset();
    CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("A new token replaces the file and nothing else is left in the directory") {
    const TestFolder folder;
    auto file = made_in(folder);
    std::ifstream reader{file.path()};
    // A file that an interrupted writer left behind must not prevent the next write.
    std::ofstream{file.path() + ".next"} << "half";
    ::chmod((file.path() + ".next").c_str(), 0644);
    CHECK_FALSE(file.replace(second));
    CHECK(text_of(file.path()) == second_line);
    CHECK(mode_of(file.path()) == 0600);
    CHECK(std::distance(fs::directory_iterator{directory_of(file)}, {}) == 1);
    // A process that had the file open reads the old line to its end.
    std::string line;
    std::getline(reader, line);
    CHECK(line + '\n' == first_line);
}

TEST_CASE("A directory that was removed is made again at the same path") {
    const TestFolder folder;
    auto file = made_in(folder);
    const auto path = file.path();
    for (const auto& [token, line] : {std::pair{second, second_line}, std::pair{first, first_line}}) {
        fs::remove_all(directory_of(file));
        CHECK_FALSE(file.replace(token));
        CHECK(file.path() == path);
        CHECK(text_of(path) == line);
        CHECK(mode_of(directory_of(file)) == 0700);
        CHECK(mode_of(path) == 0600);
        // It belongs to us as the first one did.
        CHECK(sweep_password_directories({folder.path()}).empty());
    }
}

TEST_CASE("A token is not written through a symbolic link in the place of the directory") {
    const TestFolder folder;
    const TestFolder elsewhere;
    auto file = made_in(folder);
    fs::remove_all(directory_of(file));
    fs::create_directory_symlink(elsewhere.path(), directory_of(file));
    const auto fault = file.replace(second);
    REQUIRE(fault);
    CHECK(fault->why.starts_with("can't open the private directory " + directory_of(file).string() + ": "));
    CHECK(fs::is_empty(elsewhere.path()));
    fs::remove(directory_of(file));
    CHECK_FALSE(file.replace(second));
    CHECK(text_of(file.path()) == second_line);
}

TEST_CASE("A token is not written to a directory that others may read or own") {
    const TestFolder folder;
    auto file = made_in(folder);
    const auto directory = directory_of(file);
    const auto is_refused = [&] {
        const auto fault = file.replace(second);
        return fault &&
               fault->why == "can't use the private directory " + directory.string() +
                                 ": it belongs to another user or is open to others" &&
               fs::is_empty(directory);
    };
    fs::remove_all(directory);
    fs::create_directory(directory);
    ::chmod(directory.c_str(), 0750);
    CHECK(is_refused());
    ::chmod(directory.c_str(), 0700);
    if (::geteuid() == 0) {
        REQUIRE(::chown(directory.c_str(), 65534, 65534) == 0);
        CHECK(is_refused());
        REQUIRE(::chown(directory.c_str(), 0, 0) == 0);
    }
    CHECK_FALSE(file.replace(second));
}

TEST_CASE("A password file that can't be replaced keeps the old line") {
    const TestFolder folder;
    const auto result = in_own_process([&folder] {
        auto file = made_in(folder);
        // Signal and limit: setrlimit(2), RLIMIT_FSIZE.
        std::signal(SIGXFSZ, SIG_IGN);
        const rlimit none{4, 4};
        ::setrlimit(RLIMIT_FSIZE, &none);
        const auto fault = file.replace(second);
        return (fault ? fault->why.substr(0, 30) : "no fault") + '|' + text_of(file.path());
    });
    CHECK(result == "can't write the password file |" + first_line);
}

TEST_CASE("The first directory that can be used is taken") {
    const TestFolder folder;
    const auto plain = folder.write("plain", "", 0600);
    const auto file = PasswordFile::create({"/no/such/directory", plain, folder.path()}, first);
    REQUIRE(file.has_value());
    CHECK(directory_of(*file).parent_path() == folder.path());

    const auto none = PasswordFile::create({"/no/such/directory", plain}, first);
    REQUIRE_FALSE(none.has_value());
    CHECK(none.error().why ==
          "can't make a private directory in /no/such/directory: No such file or directory; "
          "can't make a private directory in " +
              plain + ": Not a directory");
}

TEST_CASE("The path of a password file is absolute, so that it is the same one from another directory") {
    const TestFolder folder;
    const auto result = in_own_process([&folder] {
        fs::create_directory(folder.path("relative"));
        fs::current_path(folder.path());
        auto file = PasswordFile::create({"relative"}, first);
        if (!file) {
            return file.error().why;
        }
        fs::current_path("/");
        const auto fault = file->replace(second);
        return fault ? fault->why : text_of(file->path());
    });
    CHECK(result == second_line);
    CHECK(fs::is_empty(folder.path("relative")));
}

TEST_CASE("Memory comes before the temporary directories, and /tmp is always among them") {
    using Directories = std::vector<std::string>;
    CHECK(password_file_directories(nullptr) == Directories{"/dev/shm", "/tmp"});
    CHECK(password_file_directories("") == Directories{"/dev/shm", "/tmp"});
    CHECK(password_file_directories("/tmp") == Directories{"/dev/shm", "/tmp"});
    CHECK(password_file_directories("/var/tmp") == Directories{"/dev/shm", "/var/tmp", "/tmp"});
}

TEST_CASE("The directory of an owner that was killed is swept, and that of a living one is not") {
    const TestFolder folder;
    Owner owner{folder};
    const auto living = made_in(folder);
    const std::vector<std::string> places{"/no/such/directory", folder.path()};
    CHECK(sweep_password_directories(places).empty());
    // Its child keeps running and holds no lock.
    owner.kill();
    const auto removed = sweep_password_directories(places);
    REQUIRE(removed.size() == 1);
    CHECK(fs::path{removed[0]}.parent_path() == folder.path());
    CHECK_FALSE(fs::exists(removed[0]));
    CHECK(text_of(living.path()) == first_line);
    CHECK(sweep_password_directories(places).empty());
}

TEST_CASE("The directory of an owner that can't lock is swept by nobody") {
    if (in_own_process([] { return refuse_system_calls({SYS_flock}, ENOSYS) ? "" : "no filter"; }) == "no filter") {
        SKIP("system calls can't be refused here");
    }
    const TestFolder folder;
    const Owner owner{folder, false};
    CHECK(sweep_password_directories({folder.path()}).empty());
    const fs::directory_iterator found{folder.path()};
    REQUIRE(found != fs::directory_iterator{});
    CHECK(text_of(found->path() / "pgpass") == first_line);
}

TEST_CASE("Nothing is swept but private directories of our own user") {
    const TestFolder folder;
    const TestFolder elsewhere;
    elsewhere.write("pgpass", "somebody's", 0600);
    fs::create_directory_symlink(elsewhere.path(), folder.path("prefect-supervisor-link00"));
    folder.write("prefect-supervisor-file00", "", 0600);
    folder.write("prefect-supervisor-mode00/pgpass", "", 0600);
    ::chmod(folder.path("prefect-supervisor-mode00").c_str(), 0755);
    std::size_t expected = 6;
    for (const std::string name : {"prefect-supervisor-longer0", "prefect-supervisor-", "somebody-else-000000"}) {
        folder.write(name + "/pgpass", "", 0600);
        ::chmod(folder.path(name).c_str(), 0700);
    }
    if (::geteuid() == 0) {
        folder.write("prefect-supervisor-user00/pgpass", "", 0600);
        ::chmod(folder.path("prefect-supervisor-user00").c_str(), 0700);
        REQUIRE(::chown(folder.path("prefect-supervisor-user00").c_str(), 65534, 65534) == 0);
        ++expected;
    }
    CHECK(sweep_password_directories({folder.path()}).empty());
    CHECK(static_cast<std::size_t>(std::distance(fs::directory_iterator{folder.path()}, {})) == expected);
    CHECK(elsewhere.read("pgpass") == "somebody's");

    // Other files in the directory keep it from being removed, but the token is removed.
    folder.write("prefect-supervisor-dead00/pgpass", first_line, 0600);
    folder.write("prefect-supervisor-dead00/other", "", 0600);
    ::chmod(folder.path("prefect-supervisor-dead00").c_str(), 0700);
    CHECK(sweep_password_directories({folder.path()}).empty());
    CHECK_FALSE(fs::exists(folder.path("prefect-supervisor-dead00/pgpass")));
    CHECK(fs::exists(folder.path("prefect-supervisor-dead00/other")));
}
