#include "token/rsa_key.hpp"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>

#include <array>
#include <utility>

namespace supervisor {
namespace {

std::string described(int error) {
    std::array<char, 120> text{};
    mbedtls_strerror(error, text.data(), text.size());
    return text.data();
}

const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

}  // namespace

/// The key, and the random numbers by which the library hides it from whoever measures its time (blinding).
struct RsaKey::Context {
    Context() {
        mbedtls_entropy_init(&entropy);
        mbedtls_ctr_drbg_init(&random);
        mbedtls_pk_init(&key);
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context() {
        mbedtls_pk_free(&key);
        mbedtls_ctr_drbg_free(&random);
        mbedtls_entropy_free(&entropy);
    }

    mbedtls_entropy_context entropy{};
    mbedtls_ctr_drbg_context random{};
    mbedtls_pk_context key{};
};

RsaKey::RsaKey(std::unique_ptr<Context> context) : context_(std::move(context)) {}
RsaKey::RsaKey(RsaKey&& other) noexcept = default;
RsaKey& RsaKey::operator=(RsaKey&& other) noexcept = default;
RsaKey::~RsaKey() = default;

Result<RsaKey> RsaKey::parse(const Secret& pem) {
    const auto& text = pem.reveal();
    // The two forms that encrypted keys have: PKCS #8 (RFC 7468, 11) and the older one of OpenSSL (RFC 1421).
    if (text.find("BEGIN ENCRYPTED PRIVATE KEY") != std::string::npos ||
        text.find("Proc-Type: 4,ENCRYPTED") != std::string::npos) {
        return Fault{"an encrypted key, for which there is no password"};
    }
    auto context = std::make_unique<Context>();
    int error = mbedtls_ctr_drbg_seed(&context->random, mbedtls_entropy_func, &context->entropy, nullptr, 0);
    if (error != 0) {
        return Fault{"of no use without random numbers: " + described(error)};
    }
    // For PEM the library wants the zero at the end, and counts it.
    error = mbedtls_pk_parse_key(&context->key, bytes(text), text.size() + 1, nullptr, 0, mbedtls_ctr_drbg_random,
                                 &context->random);
    if (error != 0) {
        return Fault{"not a private key in PEM: " + described(error)};
    }
    if (mbedtls_pk_get_type(&context->key) != MBEDTLS_PK_RSA) {
        return Fault{std::string{"not an RSA key, but of type "} + mbedtls_pk_get_name(&context->key)};
    }
    return RsaKey{std::move(context)};
}

Result<std::string> RsaKey::sign(std::string_view text) {
    std::array<unsigned char, 32> digest{};
    std::string signature(MBEDTLS_PK_SIGNATURE_MAX_SIZE, '\0');
    std::size_t size = 0;
    int error = mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), bytes(text), text.size(), digest.data());
    if (error == 0) {
        error = mbedtls_pk_sign(&context_->key, MBEDTLS_MD_SHA256, digest.data(), digest.size(),
                                reinterpret_cast<unsigned char*>(signature.data()), signature.size(), &size,
                                mbedtls_ctr_drbg_random, &context_->random);
    }
    if (error != 0) {
        return Fault{"can't sign with it: " + described(error)};
    }
    signature.resize(size);
    return signature;
}

}  // namespace supervisor
