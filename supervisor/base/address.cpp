#include "base/address.hpp"

#include <arpa/inet.h>

#include <charconv>

namespace supervisor {
bool is_host_name(std::string_view text) {
    constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
    return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

std::string to_string(const Address& address) {
    const bool ipv6 = address.host.find(':') != std::string::npos;
    return (ipv6 ? '[' + address.host + ']' : address.host) + ':' + std::to_string(address.port);
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    return whole && port > 0 ? std::optional{port} : std::nullopt;
}

bool is_ipv4_address(std::string_view text) {
    in_addr parsed{};
    return text.find('\0') == std::string_view::npos && ::inet_pton(AF_INET, std::string{text}.c_str(), &parsed) == 1;
}

bool is_ipv6_address(std::string_view text) {
    in6_addr parsed{};
    return text.find('\0') == std::string_view::npos && ::inet_pton(AF_INET6, std::string{text}.c_str(), &parsed) == 1;
}

std::optional<std::string> parse_url_host(std::string_view text) {
    if (is_ipv6_address(text)) {
        return '[' + std::string{text} + ']';
    }
    const auto colon = text.rfind(':');
    const bool has_port = colon != std::string_view::npos && !text.ends_with(']');
    if (has_port && !parse_port(text.substr(colon + 1))) {
        return std::nullopt;
    }
    const auto host = has_port ? text.substr(0, colon) : text;
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed ? is_ipv6_address(host.substr(1, host.size() - 2)) : is_host_name(host)) {
        return std::string{text};
    }
    return std::nullopt;
}

}  // namespace supervisor
