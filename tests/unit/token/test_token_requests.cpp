#include "token/token_requests.hpp"

#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include <string>

using namespace supervisor;
using std::chrono::seconds;

namespace {

// 2026-11-26T14:00:00Z
constexpr Moment now{milliseconds{1'795'701'600'000}, milliseconds{0}};
const Route direct{.authorities = "/ca.pem"};
const Endpoint exchange{"https://oauth2.googleapis.com/token", direct, "what to do"};
const Endpoint without_advice{"https://oauth2.googleapis.com/token", direct, {}};
const Impersonation impersonation{.url = impersonation_url("t@p.iam.gserviceaccount.com")};
const Endpoint iam{impersonation.url, direct, {}};

HttpAnswer answer(const std::string& body, long status = 200) { return {.status = status, .body = body}; }

std::string why_not(const TokenAnswer& read) { return read.token ? "" : read.token.error().why; }

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("The requests have the fields of google-auth") {
    const auto by_assertion = assertion_request(exchange, Secret{"a.b-c_d.e"});
    CHECK(by_assertion.url == "https://oauth2.googleapis.com/token");
    CHECK(by_assertion.headers == std::vector<std::string>{"Content-Type: application/x-www-form-urlencoded"});
    CHECK(by_assertion.body == "assertion=a.b-c_d.e&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer");
    CHECK(by_assertion.route.authorities == "/ca.pem");
    CHECK(by_assertion.connect_timeout == seconds{10});
    CHECK(by_assertion.timeout == seconds{20});

    AuthorizedUser user{.client_id = "c.d", .client_secret = Secret{"s&s"}, .refresh_token = Secret{"1//r"}};
    CHECK(refresh_request(exchange, user).body ==
          "grant_type=refresh_token&client_id=c.d&client_secret=s%26s&refresh_token=1%2F%2Fr");
    user.rapt_token = Secret{"p"};
    CHECK(refresh_request(exchange, user).body->ends_with("&refresh_token=1%2F%2Fr&rapt=p"));

    const auto by_token = impersonation_request(iam, impersonation, "scope", Secret{"ya29.t"});
    CHECK(by_token.url ==
          "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
          "t@p.iam.gserviceaccount.com:generateAccessToken");
    CHECK(by_token.headers ==
          std::vector<std::string>{"Content-Type: application/json", "Authorization: Bearer ya29.t"});
    using Json = nlohmann::json;
    CHECK(Json::parse(*by_token.body) ==
          Json{{"delegates", nullptr}, {"scope", Json::array({"scope"})}, {"lifetime", "3600s"}});
    auto other = impersonation;
    other.delegates = {"d1", "d2"};
    other.lifetime = seconds{1800};
    CHECK(Json::parse(*impersonation_request(iam, other, "scope", Secret{"t"}).body) ==
          Json{{"delegates", Json::array({"d1", "d2"})}, {"scope", Json::array({"scope"})}, {"lifetime", "1800s"}});

    const ExternalAccount workload{.audience = "//iam/x", .subject_token_type = "jwt", .token_url = ""};
    CHECK(external_request(exchange, workload, "a/b", Secret{"s.t"}).body ==
          "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=%2F%2Fiam%2Fx&scope=a%2Fb&"
          "requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&subject_token=s.t&"
          "subject_token_type=jwt");
}

TEST_CASE("A good answer of a token endpoint is a token with its life") {
    const auto read = read_exchange(
        exchange, answer(R"({"access_token": "ya29.a", "expires_in": 3599, "token_type": "Bearer"})"), now);
    REQUIRE(read.token.has_value());
    CHECK(read.token->text == Secret{"ya29.a"});
    CHECK(read.token->expires_in == seconds{3599});

    const auto by_iam = read_impersonation(
        iam, answer(R"({"accessToken": "ya29.b", "expireTime": "2026-11-26T14:59:58Z"})"), seconds{3600}, now);
    REQUIRE(by_iam.token.has_value());
    CHECK(by_iam.token->text == Secret{"ya29.b"});
    CHECK(by_iam.token->expires_in == seconds{3598});
    const auto with_fraction = read_impersonation(
        iam, answer(R"({"accessToken": "t", "expireTime": "2026-11-26T14:00:09.25Z"})"), seconds{3600}, now);
    CHECK(with_fraction.token->expires_in == seconds{9});
    // With a slow clock here the token does not live longer than was asked for.
    const auto later = read_impersonation(iam, answer(R"({"accessToken": "t", "expireTime": "2026-11-26T18:00:00Z"})"),
                                          seconds{3600}, now);
    CHECK(later.token->expires_in == seconds{3600});
}

TEST_CASE("A grant that is refused comes with advice, and is left alone for five minutes") {
    const auto body = R"({"error": "invalid_grant", "error_description": "Token has been expired or revoked."})";
    const auto read = read_exchange(exchange, answer(body, 400), now);
    CHECK(why_not(read) ==
          "oauth2.googleapis.com answered 400: invalid_grant: Token has been expired or revoked.; what to do");
    CHECK(read.retry_after == seconds{300});
    CHECK(why_not(read_exchange(without_advice, answer(R"({"error": "invalid_grant"})", 400), now)) ==
          "oauth2.googleapis.com answered 400: invalid_grant");
    CHECK(why_not(read_exchange(exchange, answer(R"({"error": "invalid_scope"})", 400), now)) ==
          "oauth2.googleapis.com answered 400: invalid_scope");
}

TEST_CASE("A refusal that may be another one next time asks for no long pause") {
    for (const std::string body : {R"({"error": "server_error"})", R"({"error": "temporarily_unavailable"})",
                                   R"({"error": "x", "error_description": "internal_failure"})"}) {
        CHECK(read_exchange(exchange, answer(body, 400), now).retry_after == std::nullopt);
    }
    auto of_a_platform = exchange;
    of_a_platform.grant_changes = true;
    CHECK(read_exchange(of_a_platform, answer(R"({"error": "invalid_grant"})", 400), now).retry_after == std::nullopt);
}

TEST_CASE("A clock that is wrong is shown beside the server's") {
    auto refusal = answer(
        R"({"error": "invalid_grant", "error_description": "Invalid JWT: Check your iat and exp values."})", 400);
    refusal.headers["Date"] = "Thu, 26 Nov 2026 12:00:00 GMT";
    const auto read = read_exchange(exchange, refusal, now);
    CHECK(mentions(why_not(read),
                   "this machine's clock is at Thu, 26 Nov 2026 14:00:00 GMT, the server's at Thu, 26 "
                   "Nov 2026 12:00:00 GMT"));
    refusal.headers["Date"] = "noon\x1b[2J";
    CHECK(mentions(why_not(read_exchange(exchange, refusal, now)), "the server's at noon?[2J"));
    CHECK(
        mentions(why_not(read_impersonation(
                     iam, answer(R"({"accessToken": "t", "expireTime": "2026-11-26T13:59:59Z"})"), seconds{3600}, now)),
                 "expireTime is past: this machine's clock is at Thu, 26 Nov 2026 14:00:00 GMT"));
}

TEST_CASE("Only a refusal that will be the same next time asks for a long pause") {
    const auto pause = [](long status) { return read_exchange(exchange, answer("{}", status), now).retry_after; };
    for (const long status : {400, 401, 403, 404}) {
        CHECK(pause(status) == seconds{300});
    }
    for (const long status : {302, 408, 429, 500, 503}) {
        CHECK(!pause(status));
    }
    auto busy = answer("", 503);
    busy.retry_after = seconds{7};
    CHECK(read_exchange(exchange, busy, now).retry_after == seconds{7});
    // A grant in IAM takes effect after a while, so that one is tried again soon.
    const auto denied = read_impersonation(
        iam, answer(R"({"error": {"code": 403, "message": "Permission denied.", "status": "PERMISSION_DENIED"}})", 403),
        seconds{3600}, now);
    CHECK(!denied.retry_after);
    CHECK(mentions(why_not(denied),
                   "answered 403: Permission denied.; the identity that asks needs "
                   "roles/iam.serviceAccountTokenCreator"));
}

TEST_CASE("A server that is not reached is named with the way to it") {
    const Fault fault{"Connection refused"};
    CHECK(why_not(read_exchange(exchange, fault, now)) ==
          "oauth2.googleapis.com can't be reached: Connection refused (authorities of /ca.pem)");
    Endpoint by_proxy = exchange;
    by_proxy.route.proxy = "http://user:MUST-NOT-BE-SEEN@proxy:3128/";
    by_proxy.route.proxy_variable = "https_proxy";
    CHECK(why_not(read_impersonation(by_proxy, fault, seconds{3600}, now)) ==
          "oauth2.googleapis.com can't be reached: Connection refused (proxy proxy:3128 of https_proxy, authorities of "
          "/ca.pem)");
}

TEST_CASE("Any other answer is a failed try that repeats no token") {
    const std::string secret = "ya29.must-not-be-seen";
    struct Row {
        std::string body;
        std::string reason;
    };
    const Row rows[] = {{"", "not a JSON object"},
                        {"[]", "not a JSON object"},
                        {"{}", "no access_token"},
                        {R"({"access_token": 7})", "no access_token"},
                        {R"({"access_token": "a b", "expires_in": 1})", "not visible ASCII"},
                        {R"({"access_token": ")" + secret + R"("})", "expires_in is missing"},
                        {R"({"access_token": ")" + secret + R"(", "expires_in": "1"})", "expires_in is missing"},
                        {R"({"access_token": ")" + secret + R"(", "expires_in": 0})", "expires_in is 0"}};
    for (const auto& row : rows) {
        const auto why = why_not(read_exchange(exchange, answer(row.body), now));
        CHECK(mentions(why, row.reason));
        CHECK(!mentions(why, "must-not"));
    }
    for (const std::string time :
         {"", "2026-11-26", "2026-11-26T15:00:00", "2026-11-26T15:00:00+01:00", "2026-11-26T15:00:00.Zx"}) {
        const auto body = R"({"accessToken": ")" + secret + R"(", "expireTime": ")" + time + R"("})";
        CHECK(why_not(read_impersonation(iam, answer(body), seconds{3600}, now)) ==
              "iamcredentials.googleapis.com: expireTime is missing or not a time");
    }
    CHECK(!mentions(
        why_not(read_exchange(exchange, answer(R"({"error": "x", "access_token": ")" + secret + R"("})", 400), now)),
        "must-not"));
    CHECK(why_not(read_exchange(exchange, answer("<html>\n  Sign in", 503), now)) ==
          "oauth2.googleapis.com answered 503: <html> Sign in");
}
