#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>

namespace supervisor::fuzz {

/// Whether curl, which is what reads our URLs, takes all of `host`, which may have a port, for the host of a URL and none of
/// it for a user, a path or a query. A host that curl refuses can't be taken for anything else.
inline bool is_only_host(const std::string& host) {
    const std::unique_ptr<CURLU, void (*)(CURLU*)> url{curl_url(), curl_url_cleanup};
    if (curl_url_set(url.get(), CURLUPART_URL, ("http://" + host + "/path").c_str(), 0) != CURLUE_OK) {
        return true;
    }
    const auto part = [&url](CURLUPart wanted) {
        char* text = nullptr;
        const auto code = curl_url_get(url.get(), wanted, &text, 0);
        std::string found = code == CURLUE_OK ? text : "";
        curl_free(text);
        return found;
    };
    return part(CURLUPART_PATH) == "/path" && part(CURLUPART_USER).empty() && part(CURLUPART_PASSWORD).empty() &&
           part(CURLUPART_QUERY).empty() && part(CURLUPART_FRAGMENT).empty();
}

}  // namespace supervisor::fuzz
