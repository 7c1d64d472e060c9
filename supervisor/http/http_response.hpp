#pragma once

#include <string>
#include <string_view>

namespace supervisor {

/// What an HttpServer's handler answers to a request.
struct HttpResponse {
    unsigned status = 200;
    std::string_view content_type = "text/plain; charset=utf-8";
    std::string body;
};

}  // namespace supervisor
