// Answers of the metadata server, from status, header and body to the next request: token/metadata_token_source.
//
// The first line of the input is the status and, behind a space, the header Metadata-Flavor, such as `200 Google`; the rest
// is the body.
#include "support/token_answer.hpp"

#include <charconv>

using namespace supervisor;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto body = fuzz::as_text(data, size);
    auto flavor = fuzz::take(body, '\n');
    const bool has_flavor = flavor.find(' ') != std::string_view::npos;
    const auto status = fuzz::take(flavor, ' ');
    HttpAnswer answer{.status = 0, .body = std::string{body}};
    std::from_chars(status.data(), status.data() + status.size(), answer.status);
    if (has_flavor) {
        answer.headers.emplace("Metadata-Flavor", flavor);
    }
    fuzz::require_contract(answer);
    return 0;
}
