#include "token/credential_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace supervisor {
namespace {

using Json = nlohmann::json;

constexpr std::string_view only_universe = "googleapis.com";
constexpr std::string_view generate_token = ":generateAccessToken";
constexpr std::size_t longest_shown = 80;

/// A value that is no secret as a message shows it: in quotes, on one line, and not at length.
std::string shown(std::string text) {
    text.resize(std::min(text.size(), longest_shown));
    return Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
}

bool is_plain(const std::string& url) {
    return std::all_of(url.begin(), url.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

bool is_one_line(const std::string& text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
}

/// The fields of one JSON object. `place` is where the object is, for the messages: `source_credentials.` or nothing.
class Fields {
public:
    Fields(Json& object, std::string place) : object_(object), place_(std::move(place)) {}

    /// The text of a field that has to be there. The first field that is missing or no text is remembered as the fault.
    std::string required(const std::string& name) {
        auto text = optional(name);
        if (text.empty() && !fault_) {
            fault_ = Fault{"the field " + place_ + name + " is " + (object_.contains(name) ? "empty" : "missing")};
        }
        return text;
    }

    std::string optional(const std::string& name) {
        const auto field = object_.find(name);
        if (field == object_.end() || field->is_null()) {
            return {};
        }
        if (!field->is_string()) {
            complain(name, "not a text");
            return {};
        }
        return std::move(field->get_ref<std::string&>());
    }

    Secret required_secret(const std::string& name) { return Secret{required(name)}; }

    /// A URL to which a secret is sent.
    std::string required_url(const std::string& name) {
        auto url = required(name);
        if (!url.empty() && (!url.starts_with("https://") || !is_plain(url))) {
            complain(name, shown(url) + ", which is not an https URL");
        }
        return url;
    }

    void complain(const std::string& name, const std::string& what) {
        if (!fault_) {
            fault_ = Fault{"the field " + place_ + name + " is " + what};
        }
    }

    /// Takes over the fault of an object within this one.
    void adopt(const Fields& inner) {
        if (!fault_) {
            fault_ = inner.fault_;
        }
    }

    [[nodiscard]] const std::optional<Fault>& fault() const { return fault_; }
    [[nodiscard]] const std::string& place() const { return place_; }

private:
    Json& object_;
    std::string place_;
    std::optional<Fault> fault_{};
};

void refuse_other_universe(Fields& fields) {
    const auto universe = fields.optional("universe_domain");
    if (!universe.empty() && universe != only_universe) {
        fields.complain("universe_domain", shown(universe) + ", and only googleapis.com is supported");
    }
}

Result<Identity> read_identity(Json& object, const std::string& type, const std::string& place) {
    Fields fields{object, place};
    Identity identity;
    refuse_other_universe(fields);
    if (type == "service_account") {
        identity = ServiceAccountKey{.email = fields.required("client_email"),
                                     .key_id = fields.optional("private_key_id"),
                                     .private_key = fields.required_secret("private_key"),
                                     .token_uri = fields.required_url("token_uri")};
    } else if (type == "authorized_user") {
        identity = AuthorizedUser{.client_id = fields.required("client_id"),
                                  .client_secret = fields.required_secret("client_secret"),
                                  .refresh_token = fields.required_secret("refresh_token"),
                                  .rapt_token = Secret{fields.optional("rapt_token")}};
    } else {
        fields.complain("type", shown(type) +
                                    ", which is not supported; supported are service_account, authorized_user, "
                                    "impersonated_service_account with one of these as its source, and "
                                    "external_account with a file or a URL");
    }
    if (fields.fault()) {
        return *fields.fault();
    }
    return identity;
}

/// Where the platform's own token is: `credential_source`, which has a file or a URL, and perhaps `format` and `headers`.
void read_source(ExternalAccount& account, Json& source, Fields& fields) {
    // gcloud writes a URL for AWS as well, which is not that of the token.
    for (const std::string name : {"environment_id", "executable", "certificate"}) {
        if (source.contains(name)) {
            fields.complain(name, "there, which is not supported: a workload's token has to be in a file or at a URL");
        }
    }
    account.file = fields.optional("file");
    account.url = fields.optional("url");
    const bool is_url = account.url.starts_with("https://") || account.url.starts_with("http://");
    if (account.file.empty() == account.url.empty()) {
        fields.complain("file",
                        "missing, and there is no url either, or both are there; other sources are not supported");
    } else if (!account.file.empty() && account.file.front() != '/') {
        fields.complain("file", shown(account.file) + ", which is not an absolute path");
    } else if (!account.url.empty() && (!is_url || !is_plain(account.url))) {
        fields.complain("url", shown(account.url) + ", which is no http or https URL");
    }
    if (const auto headers = source.find("headers"); headers != source.end() && headers->is_object()) {
        for (const auto& [name, value] : headers->items()) {
            if (!value.is_string() || !is_one_line(name) || !is_one_line(value.get_ref<const std::string&>())) {
                fields.complain("headers", "not an object of texts");
                return;
            }
            auto& text = value.get_ref<std::string&>();
            std::string line;
            line.reserve(name.size() + 2 + text.size());
            line.append(name).append(": ").append(text);
            wipe(text);
            account.headers.emplace_back(std::move(line));
        }
    }
    const auto format = source.find("format");
    if (format != source.end() && format->is_object()) {
        Fields of_format{*format, fields.place() + "format."};
        const auto type = of_format.optional("type");
        if (type == "json") {
            account.json_field = of_format.required("subject_token_field_name");
        } else if (!type.empty() && type != "text") {
            of_format.complain("type", shown(type) + ", allowed is text or json");
        }
        fields.adopt(of_format);
    }
}

Result<Identity> read_external(Json& object, Fields& fields) {
    refuse_other_universe(fields);
    ExternalAccount account{.audience = fields.required("audience"),
                            .subject_token_type = fields.required("subject_token_type"),
                            .token_url = fields.required_url("token_url")};
    for (const std::string name : {"client_id", "workforce_pool_user_project"}) {
        if (object.contains(name)) {
            fields.complain(name, "there, which is not supported: it is for people and not for workloads");
        }
    }
    const auto source = object.find("credential_source");
    if (source == object.end() || !source->is_object()) {
        fields.complain("credential_source", "missing or not an object");
    } else {
        Fields of_source{*source, "credential_source."};
        read_source(account, *source, of_source);
        fields.adopt(of_source);
    }
    if (fields.fault()) {
        return *fields.fault();
    }
    return Identity{std::move(account)};
}

Result<Impersonation> read_impersonation(Json& object, Fields& fields) {
    Impersonation impersonation{.url = fields.required_url("service_account_impersonation_url")};
    if (!impersonation.url.empty() && !impersonation.url.ends_with(generate_token)) {
        fields.complain("service_account_impersonation_url",
                        shown(impersonation.url) + ", which does not end in :generateAccessToken");
    }
    const auto delegates = object.find("delegates");
    if (delegates != object.end() && !delegates->is_null()) {
        const bool are_texts = delegates->is_array() && std::all_of(delegates->begin(), delegates->end(),
                                                                    [](const Json& one) { return one.is_string(); });
        if (are_texts) {
            impersonation.delegates = delegates->get<std::vector<std::string>>();
        } else {
            fields.complain("delegates", "not a list of texts");
        }
    }
    if (const auto options = object.find("service_account_impersonation"); options != object.end()) {
        const auto life = options->is_object() ? options->find("token_lifetime_seconds") : options->end();
        if (life == options->end()) {
            // The object may be there without it.
        } else if (life->is_number_integer() && *life >= 600 && *life <= 43200) {
            impersonation.lifetime = std::chrono::seconds{life->get<int>()};
        } else {
            fields.complain("service_account_impersonation.token_lifetime_seconds", "not an integer from 600 to 43200");
        }
    }
    if (fields.fault()) {
        return *fields.fault();
    }
    return impersonation;
}

}  // namespace

Result<Credential> read_credential(std::string_view contents) {
    auto json = Json::parse(contents, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
        return Fault{"it is not a JSON object"};
    }
    Fields fields{json, {}};
    Credential credential;
    credential.type = fields.required("type");
    if (fields.fault()) {
        return *fields.fault();
    }
    if (credential.type == "external_account") {
        if (json.contains("service_account_impersonation_url")) {
            auto impersonation = read_impersonation(json, fields);
            if (!impersonation) {
                return impersonation.error();
            }
            credential.impersonation = std::move(*impersonation);
        }
        auto external = read_external(json, fields);
        if (!external) {
            return external.error();
        }
        credential.identity = std::move(*external);
        return credential;
    }
    Json* identity = &json;
    std::string identity_type = credential.type;
    std::string place;
    if (credential.type == "impersonated_service_account") {
        refuse_other_universe(fields);
        auto impersonation = read_impersonation(json, fields);
        if (!impersonation) {
            return impersonation.error();
        }
        credential.impersonation = std::move(*impersonation);
        const auto source = json.find("source_credentials");
        if (source == json.end() || !source->is_object()) {
            return Fault{"the field source_credentials is missing or not an object"};
        }
        identity = &*source;
        place = "source_credentials.";
        Fields source_fields{*source, place};
        identity_type = source_fields.required("type");
        if (source_fields.fault()) {
            return *source_fields.fault();
        }
    }
    auto read = read_identity(*identity, identity_type, place);
    if (!read) {
        return read.error();
    }
    credential.identity = std::move(*read);
    return credential;
}

}  // namespace supervisor
