#include "delivery/child_environment.hpp"

#include "delivery/database_url.hpp"

#include <cctype>

namespace supervisor {
namespace {

// PostgreSQL folds a name that is not quoted to lower case, so any other name is quoted
// (PostgreSQL documentation, 4.1.1 Identifiers and Key Words).
std::string sql_identifier(const std::string& name) {
    bool plain = !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0;
    std::string quoted = "\"";
    for (const char c : name) {
        plain = plain && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_');
        quoted += c;
        if (c == '"') {
            quoted += c;
        }
    }
    return plain ? name : quoted + '"';
}

class Editor {
public:
    explicit Editor(Environment variables) : result_{std::move(variables), {}} {}

    void remove(const std::string& name, const std::string& why) {
        if (result_.variables.erase(name) != 0) {
            result_.warnings.push_back(name + " is taken out of the child's environment: " + why);
        }
    }

    void remove_all_with_prefix(const std::string& prefix, const std::string& why) {
        auto next = result_.variables.lower_bound(prefix);
        while (next != result_.variables.end() && next->first.starts_with(prefix)) {
            const auto name = (next++)->first;
            remove(name, why);
        }
    }

    void set(const std::string& name, std::string value, const std::string& why_replaced) {
        const auto [place, is_new] = result_.variables.insert_or_assign(name, std::move(value));
        if (!is_new) {
            result_.warnings.push_back(name + " is replaced in the child's environment: " + why_replaced);
        }
    }

    void set_default(const std::string& name, const std::string& value) { result_.variables.emplace(name, value); }

    ChildEnvironment take() { return std::move(result_); }

private:
    ChildEnvironment result_;
};

}  // namespace

ChildEnvironment child_environment(const Settings& settings, const Environment& ours, const Credentials& credentials) {
    if (!settings.use_token) {
        return {ours, {}};
    }
    Editor editor{ours};
    const std::string would_win = "it would win over the token";
    editor.remove("PREFECT_SERVER_DATABASE_CONNECTION_URL", would_win);
    editor.remove("PGPASSWORD", would_win);
    if (settings.runs_prefect) {
        // uvicorn takes it for a number of workers, which Prefect's foreground server refuses with exit code 3.
        editor.remove("WEB_CONCURRENCY", "Prefect's server does not start with it");
        if (settings.is_rolling()) {
            // The program uvicorn takes its options from there, which `prefect server start` does not run.
            editor.remove_all_with_prefix("UVICORN_", "Prefect's server does not read it");
            // Prefect's own --background gives its uvicorn this (prefect/cli/_server_utils.py, _run_in_background).
            editor.set_default("PREFECT__SERVER_FINAL", "1");
        }
    }
    editor.set("PREFECT_API_DATABASE_CONNECTION_URL", database_url(settings.database, credentials.token),
               "the URL is made from the DB_ settings");
    if (credentials.token == nullptr) {
        editor.set("PGPASSFILE", credentials.password_file, "the token is in a password file of ours");
    }
    if (settings.database.ssl_root_cert) {
        editor.set("PGSSLROOTCERT", *settings.database.ssl_root_cert, "DB_SSL_ROOT_CERT is set");
    }
    if (settings.database.schema) {
        // Prefect's own setting; `?options=` in the URL is no parameter of asyncpg.
        editor.set("PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH",
                   sql_identifier(*settings.database.schema) + ",public", "DB_SCHEMA is set");
    }
    // Cloud Run's front end reuses connections for up to 10 minutes; with uvicorn's 5 s it would run into closed ones.
    editor.set_default("PREFECT_SERVER_API_KEEPALIVE_TIMEOUT", "620");
    editor.set_default("PREFECT_SERVER_ANALYTICS_ENABLED", "false");
    return editor.take();
}

}  // namespace supervisor
