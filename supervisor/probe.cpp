#include "probe.hpp"

#include "http_client.hpp"
#include "readiness.hpp"

#include <boost/asio/io_context.hpp>

#include <cstdio>

namespace supervisor {
namespace {

/// What the server gave as its reason: the first line, without what a terminal would obey.
std::string reason(const Result<HttpAnswer>& answer) {
    constexpr std::size_t longest = 200;
    std::string line;
    for (const char c : answer ? answer->body : std::string{}) {
        if (c < ' ' || c > '~' || line.size() == longest) {
            break;
        }
        line += c;
    }
    return line.empty() ? line : ": " + line;
}

}  // namespace

int probe(const std::string& url) {
    boost::asio::io_context loop{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE};
    HttpClient client{loop};
    int code = 1;
    client.get(readiness_question(url), [&url, &code](const Result<HttpAnswer>& answer) {
        const auto fault = judge_readiness(answer, /*is_prefect=*/false);
        if (!fault) {
            code = 0;
            return;
        }
        std::fprintf(stderr, "prefect-supervisor: probe of %s: %s%s\n", url.c_str(), fault->why.c_str(),
                     reason(answer).c_str());
    });
    loop.run();
    return code;
}

}  // namespace supervisor
