#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace supervisor {

/// An IP address, an IPv6 one without brackets, and a port.
struct Address {
    std::string host;
    std::uint16_t port = 0;

    friend bool operator==(const Address&, const Address&) = default;
};

/// `host:port` as a URL has it, with an IPv6 host in brackets (RFC 3986 section 3.2.2).
std::string to_string(const Address& address);

/// A decimal number from 1 to 65535 and nothing else.
std::optional<std::uint16_t> parse_port(std::string_view text);

/// Whether `text` is a host name or an IPv4 address by its characters. The underscore belongs to no host name, but
/// private DNS zones have it.
bool is_host_name(std::string_view text);

/// Whether `text` is an IPv4 address in dotted form (inet_pton(3)).
bool is_ipv4_address(std::string_view text);

/// Whether `text` is an IPv6 address in one of the forms of RFC 4291 section 2.2, without brackets and without a zone.
bool is_ipv6_address(std::string_view text);

/// Reads a host with or without a port: `name`, `name:80`, `169.254.169.254:80`, `fd20:ce::254`, `[fd20:ce::254]` or
/// `[fd20:ce::254]:80`. Returns it as a URL needs it, which is with an IPv6 address in brackets; nothing when the text
/// is none of these.
std::optional<std::string> parse_url_host(std::string_view text);

}  // namespace supervisor
