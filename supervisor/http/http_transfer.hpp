#pragma once

#include "base/fault.hpp"
#include "http/http_client.hpp"

#include <curl/curl.h>

#include <array>
#include <memory>
#include <string>

namespace supervisor {

struct FreeEasy {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeList {
    void operator()(curl_slist* list) const;
};

/// One request, from get() to the end of its `done`. Its headers, both bodies and its result are wiped at the end.
struct Transfer {
    Transfer(HttpRequest wanted, HttpDone when_done);
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;
    ~Transfer();

    HttpRequest request;
    HttpDone done;
    std::unique_ptr<CURL, FreeEasy> easy{curl_easy_init()};
    std::unique_ptr<curl_slist, FreeList> headers{};
    std::string body{};
    bool body_too_large = false;
    std::string own_fault{};  ///< why we gave the transfer up; empty as long as curl goes on with it
    std::array<char, CURL_ERROR_SIZE> error{};
    Result<HttpAnswer> result{HttpAnswer{}};
};

/// Tells curl what to do for `transfer`, which has a handle.
void set_up(Transfer& transfer);

/// What came of the transfer that curl ended with `code`.
Result<HttpAnswer> outcome(Transfer& transfer, CURLcode code);

}  // namespace supervisor
