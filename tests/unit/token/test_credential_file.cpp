#include "token/credential_file.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace supervisor;

namespace {

const std::string account =
    R"({"type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": "PEM",)"
    R"( "client_email": "sa@p.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token"})";
const std::string person =
    R"({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "1//r", "account": ""})";
const std::string target_url =
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
    "t@p.iam.gserviceaccount.com:generateAccessToken";

std::string impersonated(const std::string& source, const std::string& more = "") {
    return R"({"type": "impersonated_service_account", "service_account_impersonation_url": ")" + target_url +
           R"(", "source_credentials": )" + source + more + "}";
}

/// The same object with one occurrence of a text replaced.
std::string replaced(std::string text, const std::string& part, const std::string& by) {
    const auto at = text.find(part);
    REQUIRE(at != std::string::npos);
    return text.replace(at, part.size(), by);
}

std::string why_not(const std::string& contents) {
    const auto credential = read_credential(contents);
    return credential ? "" : credential.error().why;
}

}  // namespace

TEST_CASE("A service account's file has its key, its name and its endpoint") {
    const auto credential = read_credential(account);
    REQUIRE(credential.has_value());
    CHECK(credential->type == "service_account");
    CHECK(!credential->impersonation);
    const auto& key = std::get<ServiceAccountKey>(credential->identity);
    CHECK(key.email == "sa@p.iam.gserviceaccount.com");
    CHECK(key.key_id == "k1");
    CHECK(key.private_key == Secret{"PEM"});
    CHECK(key.token_uri == "https://oauth2.googleapis.com/token");

    const auto without_id = read_credential(replaced(account, R"("private_key_id": "k1", )", ""));
    REQUIRE(without_id.has_value());
    CHECK(std::get<ServiceAccountKey>(without_id->identity).key_id.empty());
}

TEST_CASE("A person's file has a refresh token and its client") {
    const auto credential = read_credential(person);
    REQUIRE(credential.has_value());
    const auto& user = std::get<AuthorizedUser>(credential->identity);
    CHECK(user.client_id == "c");
    CHECK(user.client_secret == Secret{"s"});
    CHECK(user.refresh_token == Secret{"1//r"});
    CHECK(user.rapt_token.empty());
}

TEST_CASE("An impersonated account has a source of either type, and delegates or none") {
    auto credential = read_credential(impersonated(account));
    REQUIRE(credential.has_value());
    CHECK(std::get<ServiceAccountKey>(credential->identity).key_id == "k1");
    REQUIRE(credential->impersonation);
    CHECK(credential->impersonation->url == target_url);
    CHECK(!credential->impersonation->delegates);

    credential = read_credential(impersonated(person, R"(, "delegates": ["a", "b"])"));
    REQUIRE(credential.has_value());
    CHECK(std::get<AuthorizedUser>(credential->identity).client_id == "c");
    CHECK(credential->impersonation->delegates == std::vector<std::string>{"a", "b"});
    CHECK(read_credential(impersonated(person, R"(, "delegates": [])"))->impersonation->delegates->empty());
}

TEST_CASE("The fault names the field") {
    for (const std::string field : {"client_email", "private_key", "token_uri"}) {
        const auto name = '"' + field + '"';
        CHECK(why_not(replaced(account, name, R"("other")")) == "the field " + field + " is missing");
        CHECK(why_not(impersonated(replaced(account, name, R"("other")"))) ==
              "the field source_credentials." + field + " is missing");
    }
    for (const std::string field : {"client_id", "client_secret", "refresh_token"}) {
        CHECK(why_not(replaced(person, '"' + field + '"', R"("other")")) == "the field " + field + " is missing");
    }
    CHECK(why_not(replaced(person, R"("1//r")", R"("")")) == "the field refresh_token is empty");
    CHECK(why_not(replaced(person, R"("1//r")", "7")) == "the field refresh_token is not a text");
    CHECK(why_not(R"({"client_id": "c"})") == "the field type is missing");
    CHECK(why_not(replaced(account, "https://oauth2", "http://oauth2")).find("token_uri is \"http://oauth2") !=
          std::string::npos);
    CHECK(why_not(replaced(account, "https://oauth2", "https://\\noauth2")).find("not an https URL") !=
          std::string::npos);
    CHECK(why_not(replaced(impersonated(person), ":generateAccessToken", ":signJwt"))
              .find("does not end in :generateAccessToken") != std::string::npos);
    CHECK(why_not(impersonated(person, R"(, "delegates": "a")")) == "the field delegates is not a list of texts");
    CHECK(why_not(impersonated("[]")) == "the field source_credentials is missing or not an object");
    CHECK(why_not(impersonated("{}")) == "the field source_credentials.type is missing");
}

TEST_CASE("A workload's token is in a file or at a URL, as it is or in JSON") {
    const std::string start = R"({"type": "external_account", "audience": "//iam/p", "subject_token_type": "jwt",)"
                              R"( "token_url": "https://sts.googleapis.com/v1/token", "credential_source": )";
    const auto read = [&start](const std::string& source, const std::string& more = "") {
        return read_credential(start + source + more + "}");
    };
    auto credential = read(R"({"file": "/token"})");
    REQUIRE(credential.has_value());
    CHECK(!credential->impersonation);
    CHECK(std::get<ExternalAccount>(credential->identity).file == "/token");
    CHECK(!std::get<ExternalAccount>(credential->identity).json_field);
    CHECK(std::get<ExternalAccount>(credential->identity).audience == "//iam/p");

    credential = read(R"({"url": "http://169.254.169.254/t", "headers": {"Metadata": "True"}, "format": )"
                      R"({"type": "json", "subject_token_field_name": "f"}})",
                      R"(, "service_account_impersonation_url": ")" + target_url +
                          R"(", "service_account_impersonation": {"token_lifetime_seconds": 1800})");
    REQUIRE(credential.has_value());
    const auto& external = std::get<ExternalAccount>(credential->identity);
    CHECK(external.url == "http://169.254.169.254/t");
    CHECK(external.headers == std::vector<Secret>{Secret{"Metadata: True"}});
    CHECK(external.json_field == "f");
    CHECK(credential->impersonation->lifetime == std::chrono::seconds{1800});

    const auto why = [&read](const std::string& source, const std::string& more = "") {
        const auto refused = read(source, more);
        return refused ? std::string{} : refused.error().why;
    };
    const std::string neither =
        "the field credential_source.file is missing, and there is no url either, or both are "
        "there; other sources are not supported";
    CHECK(why("[]") == "the field credential_source is missing or not an object");
    CHECK(why("{}") == neither);
    CHECK(why(R"({"file": "/a", "url": "https://b"})") == neither);
    // As gcloud's `create-cred-config --aws` writes it.
    CHECK(
        why(R"({"environment_id": "aws1", "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",)"
            R"( "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials", "regional_cred_verification_url":)"
            R"( "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"})") ==
        "the field credential_source.environment_id is there, which is not supported: a workload's token has to be in "
        "a file "
        "or at a URL");
    CHECK(why(R"({"executable": {"command": "/a"}})").starts_with("the field credential_source.executable is there"));
    CHECK(why(R"({"certificate": {}, "file": "/a"})").starts_with("the field credential_source.certificate is there"));
    CHECK(why(R"({"file": "a"})") == R"(the field credential_source.file is "a", which is not an absolute path)");
    CHECK(why(R"({"url": "ftp://a"})") ==
          R"(the field credential_source.url is "ftp://a", which is no http or https URL)");
    CHECK(why(R"({"file": "/a", "format": {"type": "xml"}})") ==
          R"(the field credential_source.format.type is "xml", allowed is text or json)");
    CHECK(why(R"({"file": "/a", "format": {"type": "json"}})") ==
          "the field credential_source.format.subject_token_field_name is missing");
    CHECK(why(R"({"url": "https://a", "headers": {"a": "b\r\nc: d"}})") ==
          "the field credential_source.headers is not an object of texts");
    CHECK(why(R"({"file": "/a"})", R"(, "client_id": "c")").starts_with("the field client_id is there, which is not"));
    const auto lifetime = R"(, "service_account_impersonation": {"token_lifetime_seconds": 599})";
    CHECK(why(R"({"file": "/a"})", R"(, "service_account_impersonation_url": ")" + target_url + "\"" + lifetime) ==
          "the field service_account_impersonation.token_lifetime_seconds is not an integer from 600 to 43200");
}

TEST_CASE("Another type is refused by its name, and so is another universe") {
    CHECK(why_not(R"({"type": "gdch_service_account"})")
              .starts_with(R"(the field type is "gdch_service_account", which is)"));
    CHECK(why_not(R"({"type": "a\nb"})").starts_with(R"(the field type is "a\nb", which is)"));
    CHECK(why_not(impersonated(R"({"type": "impersonated_service_account"})"))
              .starts_with(R"(the field source_credentials.type is "impersonated_service_account", which is)"));
    CHECK(why_not(replaced(account, "{", R"({"universe_domain": "example.com", )")) ==
          R"(the field universe_domain is "example.com", and only googleapis.com is supported)");
    CHECK(why_not(replaced(account, "{", R"({"universe_domain": "googleapis.com", )")).empty());
}

TEST_CASE("What is not JSON is said to be none, and no fault repeats a secret") {
    for (const std::string text : {"", "{", "[]", "null", "\"text\"", "{\"type\": \"service_account\"} more", "\xff"}) {
        CHECK(why_not(text) == "it is not a JSON object");
    }
    const auto with_secrets = replaced(replaced(account, "PEM", "MUST-NOT-BE-SEEN"), "https://oauth2", "ftp://oauth2");
    CHECK(why_not(with_secrets).find("MUST-NOT-BE-SEEN") == std::string::npos);
}
