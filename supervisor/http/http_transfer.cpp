#include "http/http_transfer.hpp"

#include "base/printable.hpp"
#include "base/secret.hpp"

#include <mbedtls/ssl.h>
#include <string.h>

#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace supervisor {
namespace {

constexpr std::string_view https = "https://";

std::size_t take_body(char* data, std::size_t, std::size_t size, void* user) try {
    auto& transfer = *static_cast<Transfer*>(user);
    if (transfer.body.size() + size > transfer.request.max_body) {
        transfer.body_too_large = true;
        return CURL_WRITEFUNC_ERROR;
    }
    append_wiping(transfer.body, {data, size});
    return size;
} catch (const std::bad_alloc&) {
    return CURL_WRITEFUNC_ERROR;
}

/// Called by curl before the handshake. The profile that it has set by then still takes RSA keys of 1024 bits.
CURLcode restrict_certificates(CURL*, void* configuration, void*) {
    mbedtls_ssl_conf_cert_profile(static_cast<mbedtls_ssl_config*>(configuration), &mbedtls_x509_crt_profile_default);
    return CURLE_OK;
}

void set_up_https(CURL* easy, const HttpRequest& request) {
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, restrict_certificates);
    curl_easy_setopt(easy, CURLOPT_CAINFO, request.route.authorities.c_str());
    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, request.route.authorities.c_str());
    curl_easy_setopt(easy, CURLOPT_PROXY, request.route.proxy.c_str());
    curl_easy_setopt(easy, CURLOPT_NOPROXY, request.route.no_proxy.c_str());
}

std::string curls_reason(const Transfer& transfer, CURLcode code) {
    std::string why = transfer.error[0] != '\0' ? transfer.error.data() : curl_easy_strerror(code);
    while (!why.empty() && why.back() == '\n') {
        why.pop_back();
    }
    // Some of curl's texts repeat what the server sent.
    why = printable(std::move(why));
    long error = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_OS_ERRNO, &error);
    // Curl's own text does not tell a refused connection from a network without a route.
    if (code == CURLE_COULDNT_CONNECT && error != 0) {
        why.append(" (").append(std::strerror(static_cast<int>(error))).append(")");
    }
    return why;
}

}  // namespace

void FreeList::operator()(curl_slist* list) const {
    for (auto* line = list; line != nullptr; line = line->next) {
        ::explicit_bzero(line->data, std::strlen(line->data));
    }
    curl_slist_free_all(list);
}

Transfer::Transfer(HttpRequest wanted, HttpDone when_done) : request(std::move(wanted)), done(std::move(when_done)) {}

Transfer::~Transfer() {
    wipe(body);
    if (result) {
        wipe(result->body);
    }
    if (request.body) {
        wipe(*request.body);
    }
    for (auto& line : request.headers) {
        wipe(line);
    }
}

void set_up(Transfer& transfer) {
    CURL* easy = transfer.easy.get();
    const auto& request = transfer.request;
    for (const auto& line : request.headers) {
        transfer.headers.reset(curl_slist_append(transfer.headers.release(), line.c_str()));
    }
    curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    if (request.url.starts_with(https)) {
        set_up_https(easy, request);
    } else {
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
        // The empty string switches proxies off, also those of the environment (curl's documentation of CURLOPT_PROXY).
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
    if (request.body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body->size()));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body->c_str());
    }
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    // Without it curl joins the resolver's thread when a request times out or is removed, and the whole loop waits until
    // getaddrinfo() gives up (Curl_async_thrdd_shutdown() in curl's lib/asyn-thrdd.c). With it the thread is detached and
    // frees its data itself.
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, request.connect_only ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 16384L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error.data());
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
}

Result<HttpAnswer> outcome(Transfer& transfer, CURLcode code) {
    if (!transfer.own_fault.empty()) {
        return Fault{transfer.own_fault};
    }
    if (transfer.body_too_large) {
        return Fault{"the answer's body is longer than " + std::to_string(transfer.request.max_body) + " bytes"};
    }
    if (code != CURLE_OK) {
        return Fault{curls_reason(transfer, code)};
    }
    HttpAnswer answer;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &answer.status);
    curl_off_t retry_after = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RETRY_AFTER, &retry_after);
    if (retry_after > 0) {
        answer.retry_after = std::chrono::seconds{retry_after};
    }
    for (const auto& name : transfer.request.answer_headers) {
        curl_header* header = nullptr;
        if (curl_easy_header(transfer.easy.get(), name.c_str(), 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
            answer.headers.emplace(name, header->value);
        }
    }
    answer.body = std::move(transfer.body);
    return answer;
}

}  // namespace supervisor
