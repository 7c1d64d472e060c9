#include "token/file_token_source.hpp"

#include "test_folder.hpp"
#include "token/assertion.hpp"
#include "token/test_keys.hpp"

#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace supervisor;

namespace {

const std::string scope = "https://www.googleapis.com/auth/sqlservice.login";

/// What the sources need from outside, with the requests kept until the test answers them.
struct Outside {
    TokenServices services() {
        return {.get = [this](HttpRequest request,
                              HttpDone done) { asked.push_back({std::move(request), std::move(done)}); },
                .later = [this](std::function<void()> action) { queued.push_back(std::move(action)); },
                .clock = [] { return Moment{milliseconds{1'795'701'600'000}, milliseconds{0}}; },
                .route = {.authorities = "/ca.pem"}};
    }

    TokenSource::Done keep() {
        return [this](TokenAnswer answer) { answers.push_back(std::move(answer)); };
    }

    void answer(const std::string& body, long status = 200) {
        REQUIRE(!asked.empty());
        auto [request, done] = std::move(asked.front());
        asked.pop_front();
        done(HttpAnswer{.status = status, .body = body});
    }

    struct Asked {
        HttpRequest request;
        HttpDone done;
    };
    std::deque<Asked> asked{};
    std::vector<std::function<void()>> queued{};
    std::vector<TokenAnswer> answers{};
};

nlohmann::json account() {
    return {{"type", "service_account"},
            {"private_key", test_keys::rsa},
            {"client_email", "sa@p.iam.gserviceaccount.com"},
            {"token_uri", "https://oauth2.googleapis.com/token"}};
}

nlohmann::json person() {
    return {{"type", "authorized_user"}, {"client_id", "c"}, {"client_secret", "s"}, {"refresh_token", "first"}};
}

/// Whether the request has an assertion for this scope.
bool asserts(const HttpRequest& request, std::string_view wanted) {
    const ServiceAccountKey key{
        .email = "sa@p.iam.gserviceaccount.com", .key_id = "", .private_key = {}, .token_uri = ""};
    const auto text = assertion_to_sign(key, wanted, {milliseconds{1'795'701'600'000}, milliseconds{0}});
    return request.body->find("assertion=" + text + ".") != std::string::npos;
}

constexpr auto token_answer = R"({"access_token": "ya29.one", "expires_in": 3599})";

}  // namespace

TEST_CASE("A service account's file is exchanged for a token of the wanted scope") {
    Outside outside;
    const TestFolder folder;
    FileTokenSource source{folder.write("key.json", account().dump(), 0600), scope, outside.services()};
    CHECK(source.name() == folder.path("key.json"));
    source.fetch(outside.keep());
    REQUIRE(outside.asked.size() == 1);
    CHECK(asserts(outside.asked.front().request, scope));
    outside.answer(token_answer);
    REQUIRE(outside.answers.size() == 1);
    CHECK(outside.answers[0].token->text == Secret{"ya29.one"});
}

TEST_CASE("The file is read for each token, so a renewed login counts at once") {
    Outside outside;
    const TestFolder folder;
    FileTokenSource source{folder.write("adc.json", person().dump(), 0600), scope, outside.services()};
    source.fetch(outside.keep());
    CHECK(outside.asked.front().request.body->ends_with("refresh_token=first"));
    outside.answer(R"({"error": "invalid_grant"})", 400);
    CHECK(outside.answers[0].retry_after == std::chrono::seconds{300});

    auto renewed = person();
    renewed["refresh_token"] = "second";
    folder.write("adc.json", renewed.dump(), 0600);
    source.fetch(outside.keep());
    CHECK(outside.asked.front().request.body->ends_with("refresh_token=second"));
    outside.answer(token_answer);
    CHECK(outside.answers[1].token.has_value());

    // It may also become another kind, or be gone; then the fault is told later, and not from within fetch().
    folder.write("adc.json", account().dump(), 0600);
    source.fetch(outside.keep());
    CHECK(asserts(outside.asked.front().request, scope));
    outside.answer(token_answer);
    std::filesystem::remove(folder.path("adc.json"));
    source.fetch(outside.keep());
    CHECK(outside.answers.size() == 3);
    REQUIRE(outside.queued.size() == 1);
    outside.queued[0]();
    CHECK(outside.answers[3].token.error().why == "it can't be read: No such file or directory");
}

TEST_CASE("An impersonated account's token is asked for with a token for IAM") {
    Outside outside;
    const TestFolder folder;
    const std::string url = impersonation_url("t@p.iam.gserviceaccount.com");
    const nlohmann::json content{{"type", "impersonated_service_account"},
                                 {"service_account_impersonation_url", url},
                                 {"delegates", nlohmann::json::array({"d"})},
                                 {"source_credentials", account()}};
    FileTokenSource source{folder.write("key.json", content.dump(), 0600), scope, outside.services()};
    source.fetch(outside.keep());
    CHECK(asserts(outside.asked.front().request, iam_scope));
    outside.answer(token_answer);
    CHECK(outside.answers.empty());
    REQUIRE(outside.asked.size() == 1);
    const auto& request = outside.asked.front().request;
    CHECK(request.url == url);
    CHECK(request.headers.back() == "Authorization: Bearer ya29.one");
    const auto body = nlohmann::json::parse(*request.body);
    CHECK(body["scope"] == nlohmann::json::array({scope}));
    CHECK(body["delegates"] == nlohmann::json::array({"d"}));
    outside.answer(R"({"accessToken": "ya29.two", "expireTime": "2026-11-26T15:00:00Z"})");
    REQUIRE(outside.answers.size() == 1);
    CHECK(outside.answers[0].token->text == Secret{"ya29.two"});

    // Without a token for IAM it is not asked.
    source.fetch(outside.keep());
    outside.answer("", 503);
    CHECK(outside.asked.empty());
    CHECK(!outside.answers[1].token);
}

TEST_CASE("A workload's token is read anew for each exchange, or asked for at its platform") {
    Outside outside;
    const TestFolder folder;
    nlohmann::json content{{"type", "external_account"},
                           {"audience", "//iam/p"},
                           {"subject_token_type", "jwt"},
                           {"token_url", "https://sts.googleapis.com/v1/token"},
                           {"credential_source", {{"file", folder.write("token", "first", 0600)}}}};
    FileTokenSource source{folder.write("key.json", content.dump(), 0600), scope, outside.services()};
    const auto run_queued = [&outside] {
        REQUIRE(outside.queued.size() == 1);
        std::exchange(outside.queued, {})[0]();
    };
    for (const std::string token : {"first", "second"}) {
        folder.write("token", token, 0600);
        source.fetch(outside.keep());
        run_queued();
        REQUIRE(outside.asked.size() == 1);
        CHECK(outside.asked.front().request.url == "https://sts.googleapis.com/v1/token");
        CHECK(outside.asked.front().request.body->find("&subject_token=" + token + "&") != std::string::npos);
        outside.answer(token_answer);
    }
    CHECK(outside.answers[1].token->text == Secret{"ya29.one"});
    std::filesystem::remove(folder.path("token"));
    source.fetch(outside.keep());
    run_queued();
    CHECK(outside.answers[2].token.error().why ==
          "the platform's token in " + folder.path("token") + ": it can't be read: No such file or directory");

    content["credential_source"] = {{"url", "http://platform/t"},
                                    {"headers", {{"Metadata", "True"}}},
                                    {"format", {{"type", "json"}, {"subject_token_field_name", "id"}}}};
    folder.write("key.json", content.dump(), 0600);
    const auto ask = [&](const std::string& body, long status = 200) {
        source.fetch(outside.keep());
        CHECK(outside.asked.front().request.url == "http://platform/t");
        CHECK(outside.asked.front().request.headers == std::vector<std::string>{"Metadata: True"});
        outside.answer(body, status);
    };
    ask(R"({"id": "third"})");
    CHECK(outside.asked.front().request.body->find("&subject_token=third&") != std::string::npos);
    outside.answer(token_answer);
    CHECK(outside.answers.back().token.has_value());
    ask("down", 503);
    CHECK(outside.answers.back().token.error().why == "the platform's token at http://platform/t: answered 503: down");
    for (const std::string bad : {"[]", "{}", R"({"id": 7})", "third"}) {
        ask(bad);
        CHECK(outside.answers.back().token.error().why ==
              "the platform's token in http://platform/t: it is not a JSON object with a text in id");
    }
    ask(R"({"id": ""})");
    CHECK(outside.answers.back().token.error().why == "the platform's token in http://platform/t: it is empty");
}

TEST_CASE("What can't be used is known before the first request") {
    const TestFolder folder;
    const auto why_not = [&folder](const std::string& text) {
        const auto credential = load_credential(folder.write("key.json", text, 0600));
        return credential ? std::string{} : credential.error().why;
    };
    CHECK(why_not(account().dump()).empty());
    CHECK(why_not("") == "it is not a JSON object");
    auto other = account();
    other["private_key"] = test_keys::encrypted_pkcs8;
    CHECK(why_not(other.dump()) == "the field private_key is an encrypted key, for which there is no password");
    CHECK(why_not(std::string(65537, ' ')) == "it has more than 65536 bytes");
    CHECK(load_credential(folder.path()).error().why == "it can't be read: Is a directory");
}
