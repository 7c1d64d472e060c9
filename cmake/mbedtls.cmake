# Mbed TLS, built from upstream's release with what cmake/mbedtls_config.h switches on. The distributions' packages are of
# different series, and Debian 12's 2.28 has ended (docs/third-party.md).
set(MBEDTLS_VERSION 3.6.7)
set(MBEDTLS_SHA256 a7e8bcbec0e6f761b4af24f25677626b35f762f68eef79c08677a363212d11f6)

set(mbedtls_from_apt ${PROJECT_SOURCE_DIR}/.deps/mbedtls-${MBEDTLS_VERSION})
if(EXISTS ${mbedtls_from_apt})
  set(FETCHCONTENT_SOURCE_DIR_MBEDTLS ${mbedtls_from_apt})
endif()

include(FetchContent)
set(MBEDTLS_URL https://github.com/Mbed-TLS/mbedtls/releases/download/mbedtls-${MBEDTLS_VERSION}/mbedtls-${MBEDTLS_VERSION}.tar.bz2
    CACHE STRING "Where the release of Mbed TLS is downloaded from")
# Its own CMake project is not used, hence the name of a folder that does not exist: it would build programs and tests.
FetchContent_Declare(mbedtls
  URL ${MBEDTLS_URL}
  URL_HASH SHA256=${MBEDTLS_SHA256}
  SOURCE_SUBDIR none
  DOWNLOAD_EXTRACT_TIMESTAMP ON)
FetchContent_MakeAvailable(mbedtls)

# The files that hold something with this configuration.
set(mbedtls_sources
  aes aesce aesni asn1parse asn1write base64 bignum bignum_core bignum_mod bignum_mod_raw block_cipher cipher cipher_wrap
  constant_time ctr_drbg ecdh ecdsa ecp ecp_curves entropy entropy_poll error gcm hkdf md oid pem pk pk_ecc pk_wrap pkparse pkwrite
  platform platform_util psa_crypto psa_crypto_aead psa_crypto_cipher psa_crypto_client psa_crypto_driver_wrappers_no_static
  psa_crypto_ecp psa_crypto_hash psa_crypto_mac psa_crypto_random psa_crypto_rsa psa_crypto_slot_management psa_util rsa
  rsa_alt_helpers sha256 sha512 ssl_ciphersuites ssl_client ssl_debug_helpers_generated ssl_msg ssl_tls ssl_tls12_client
  ssl_tls13_client ssl_tls13_generic ssl_tls13_keys version x509 x509_crt)
list(TRANSFORM mbedtls_sources PREPEND ${mbedtls_SOURCE_DIR}/library/)
list(TRANSFORM mbedtls_sources APPEND .c)
add_library(mbedtls STATIC ${mbedtls_sources})
target_include_directories(mbedtls SYSTEM PUBLIC ${mbedtls_SOURCE_DIR}/include)
target_compile_definitions(mbedtls PUBLIC MBEDTLS_CONFIG_FILE="${CMAKE_CURRENT_LIST_DIR}/mbedtls_config.h")
# The start of the child waits for one signature, one handshake and the parsing of all authorities: these are faster by a third
# so (docs/decisions/0020), for 60 kB.
target_compile_options(mbedtls PRIVATE $<$<CONFIG:MinSizeRel>:-O2>)

# For curl's FindMbedTLS.cmake, which looks for three libraries. Here they are one.
set(MBEDTLS_INCLUDE_DIR ${mbedtls_SOURCE_DIR}/include)
set(MBEDTLS_LIBRARY mbedtls)
set(MBEDX509_LIBRARY mbedtls)
set(MBEDCRYPTO_LIBRARY mbedtls)
