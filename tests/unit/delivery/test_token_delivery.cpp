#include "delivery/token_delivery.hpp"

#include "simulated/captured_log.hpp"
#include "test_folder.hpp"

#include <catch2/catch_test_macros.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
using simulated::CapturedLog;

namespace {

using Lines = std::vector<std::string>;

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};
const Secret one{"ya29.one"};
const Secret two{"ya29.two"};

/// A delivery whose password file is a real one, in a directory of the test's own.
struct Delivering : private TokenDelivery::Listener {
    explicit Delivering(RotationMode mode, Environment variables = {}) : environment(std::move(variables)) {
        settings.rotation = mode;
        settings.database = {.user = "sa@project.iam", .host = "10.0.0.5", .name = "prefect"};
    }

    Settings settings{};
    Environment environment;
    TestFolder directory{};
    CapturedLog log{};
    unsigned rotated = 0;
    unsigned failed = 0;
    TokenDelivery delivery{settings, environment, {directory.path()}, *this, log.log()};

private:
    void on_rotated() override { ++rotated; }
    void on_delivery_failed() override { ++failed; }
};

std::string content(const std::string& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::string password_file_of(const Result<Environment>& child) { return child->at("PGPASSFILE"); }

}  // namespace

TEST_CASE("In a restart the next child gets the newest token in its URL") {
    Delivering test{RotationMode::restart};
    test.delivery.set_newest(one, start + 1h);
    CHECK(test.delivery.environment_for_child()->at("PREFECT_API_DATABASE_CONNECTION_URL") ==
          "postgresql+asyncpg://sa%40project.iam:ya29.one@10.0.0.5:5432/prefect");
    test.delivery.child_serves();
    CHECK(test.delivery.rotations() == 0);
    test.delivery.set_newest(two, start + 2h);
    CHECK(test.delivery.in_use()->hash == one.short_hash());
    CHECK(test.delivery.environment_for_child()->at("PREFECT_API_DATABASE_CONNECTION_URL").find("ya29.two") !=
          std::string::npos);
    test.delivery.child_serves();
    CHECK(test.delivery.in_use()->hash == two.short_hash());
    CHECK(test.delivery.in_use()->expiry == start + 2h);
    CHECK(test.delivery.rotations() == 1);
}

TEST_CASE("A launch that is tried again with the same token is one rotation") {
    Delivering test{RotationMode::restart};
    test.delivery.set_newest(one, start + 1h);
    test.delivery.environment_for_child();
    test.delivery.child_serves();
    test.delivery.set_newest(two, start + 2h);
    test.delivery.environment_for_child();
    test.delivery.environment_for_child();
    CHECK(test.rotated == 0);
    test.delivery.child_serves();
    CHECK(test.delivery.rotations() == 1);
    CHECK(test.rotated == 1);
    CHECK(test.failed == 0);
}

TEST_CASE("While the next child starts beside the old one, the old one's token is the one in use") {
    Delivering test{RotationMode::rolling};
    test.delivery.set_newest(one, start + 1h);
    test.delivery.environment_for_child();
    test.delivery.child_serves();
    test.delivery.set_newest(two, start + 2h);
    CHECK(test.delivery.environment_for_child()->at("PREFECT_API_DATABASE_CONNECTION_URL").find("ya29.two") !=
          std::string::npos);
    CHECK(test.delivery.in_use()->hash == one.short_hash());
    test.delivery.child_serves();
    CHECK(test.delivery.in_use()->hash == two.short_hash());
    CHECK(test.delivery.rotations() == 1);
}

TEST_CASE("In place the child gets a password file and a URL without the token") {
    Delivering test{RotationMode::in_place};
    test.delivery.set_newest(one, start + 1h);
    const auto child = test.delivery.environment_for_child();
    test.delivery.child_serves();
    CHECK(child->at("PREFECT_API_DATABASE_CONNECTION_URL") ==
          "postgresql+asyncpg://sa%40project.iam@10.0.0.5:5432/prefect");
    CHECK(content(password_file_of(child)) == "*:*:*:*:ya29.one\n");
    for (const auto& [name, value] : *child) {
        CHECK(value.find("ya29") == std::string::npos);
    }
}

TEST_CASE("In place a fresh token replaces the line in the same file") {
    Delivering test{RotationMode::in_place};
    test.delivery.set_newest(one, start + 1h);
    const auto child = test.delivery.environment_for_child();
    test.delivery.child_serves();
    test.delivery.set_newest(two, start + 2h);
    test.delivery.hand_over_in_place(start);
    CHECK(content(password_file_of(child)) == "*:*:*:*:ya29.two\n");
    CHECK(test.delivery.rotations() == 1);
    CHECK(test.rotated == 1);
    CHECK(test.log.lines() == Lines{"INFO rotation: fresh token handed over in place hash=" + two.short_hash()});
    CHECK_FALSE(test.delivery.sleep(start).has_value());
}

TEST_CASE("A hand-over that fails is tried again after growing pauses, and its error is gone once it worked") {
    Delivering test{RotationMode::in_place};
    test.delivery.set_newest(one, start + 1h);
    const auto child = test.delivery.environment_for_child();
    test.delivery.child_serves();
    // The name of the next file is taken by a directory, which makes every try fail.
    const auto obstacle = password_file_of(child) + ".next";
    std::filesystem::create_directory(obstacle);
    test.delivery.set_newest(two, start + 2h);
    test.delivery.hand_over_in_place(start);
    CHECK(test.delivery.last_error().starts_with("can't create the password file " + obstacle));
    CHECK(test.delivery.in_use()->hash == one.short_hash());
    CHECK(test.log.lines().front().starts_with("ERROR rotation: the child keeps the old token: can't create"));

    auto now = start;
    for (const auto pause : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) {
        CHECK(test.delivery.sleep(now) == pause);
        test.delivery.tick(now + pause - 1ms);
        CHECK(test.log.lines().empty());
        now = now + pause;
        test.delivery.tick(now);
        CHECK(test.log.lines().size() == 1);
    }
    CHECK(test.failed == 8);
    CHECK(test.rotated == 0);
    std::filesystem::remove(obstacle);
    now = now + 30s;
    test.delivery.tick(now);
    CHECK(content(password_file_of(child)) == "*:*:*:*:ya29.two\n");
    CHECK(test.delivery.last_error().empty());
    CHECK_FALSE(test.delivery.sleep(now).has_value());
    CHECK(test.delivery.rotations() == 1);
    CHECK(test.rotated == 1);
    CHECK(test.failed == 8);
}

TEST_CASE("A password file that somebody has removed is written again, with its directory, and without a new token") {
    Delivering test{RotationMode::in_place};
    test.delivery.set_newest(one, start + 1h);
    const auto file = password_file_of(test.delivery.environment_for_child());
    test.delivery.child_serves();
    const auto line = content(file);
    test.delivery.tick(start + 1s);
    CHECK(test.log.lines().empty());
    for (const auto& lost : {file, std::filesystem::path{file}.parent_path().string()}) {
        std::filesystem::remove_all(lost);
        test.delivery.tick(start + 2s);
        CHECK(content(file) == line);
        CHECK(test.log.lines().front() ==
              "WARNING rotation: the password file was removed, writing it again path=" + file);
    }
    CHECK(test.rotated == 0);

    // What cannot be written is tried again as any other hand-over is.
    const auto directory = std::filesystem::path{file}.parent_path();
    std::filesystem::remove_all(directory);
    std::ofstream{directory};
    test.delivery.tick(start + 3s);
    CHECK(test.failed == 1);
    CHECK(test.delivery.sleep(start + 3s) == 1s);
    std::filesystem::remove(directory);
    test.delivery.tick(start + 4s);
    CHECK(content(file) == line);
    CHECK(test.delivery.last_error().empty());
}

TEST_CASE("A password file that can't be made is a fault that names the directory") {
    Delivering test{RotationMode::in_place};
    test.delivery.set_newest(one, start + 1h);
    std::filesystem::remove_all(test.directory.path());
    const auto child = test.delivery.environment_for_child();
    test.delivery.child_serves();
    REQUIRE(child.has_error());
    CHECK(child.error().why.find(test.directory.path()) != std::string::npos);
}

TEST_CASE("The user's variables that would win are warned about once") {
    Delivering test{RotationMode::restart, {{"PGPASSWORD", "secret"}}};
    test.delivery.set_newest(one, start + 1h);
    test.delivery.environment_for_child();
    CHECK(test.log.lines() == Lines{"WARNING child: PGPASSWORD is taken out of the child's environment: it would win "
                                    "over the token"});
    test.delivery.environment_for_child();
    CHECK(test.log.lines().empty());
}

TEST_CASE("Without a token the child gets our environment as it is") {
    Delivering test{RotationMode::restart, {{"PGPASSWORD", "secret"}}};
    test.settings.use_token = false;
    CHECK(*test.delivery.environment_for_child() == test.environment);
    CHECK_FALSE(test.delivery.in_use().has_value());
}
