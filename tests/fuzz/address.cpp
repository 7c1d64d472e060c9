// Hosts, addresses and ports: base/address.
#include "base/address.hpp"

#include "support/property.hpp"
#include "support/url.hpp"

using namespace supervisor;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::as_text(data, size);
    if (const auto host = parse_url_host(text)) {
        fuzz::require(parse_url_host(*host) == host, "a host in the form that a URL needs is read as itself");
        fuzz::require(fuzz::is_only_host(*host), "a host is nothing but a host in a URL");
    }
    if (const auto port = parse_port(text)) {
        fuzz::require(parse_port(std::to_string(*port)) == port, "a port is read back as it was written");
        fuzz::require(text.find_first_not_of("0123456789") == std::string_view::npos, "a port has digits alone");
    }
    const bool ipv4 = is_ipv4_address(text);
    const bool ipv6 = is_ipv6_address(text);
    fuzz::require(!ipv4 || is_host_name(text), "an IPv4 address has the characters of a host name");
    fuzz::require(!ipv4 || !ipv6, "an address is of one version");
    if (ipv4 || ipv6) {
        const Address address{std::string{text}, 80};
        fuzz::require(parse_url_host(to_string(address)) == to_string(address), "an address with its port is a host");
    }
    return 0;
}
