# mbedTLS as static libraries, for us and for curl. The three variables are those of curl's FindMbedTLS.cmake.
find_path(MBEDTLS_INCLUDE_DIR mbedtls/md.h REQUIRED)
find_library(MBEDTLS_LIBRARY libmbedtls.a REQUIRED)
find_library(MBEDX509_LIBRARY libmbedx509.a REQUIRED)
find_library(MBEDCRYPTO_LIBRARY libmbedcrypto.a REQUIRED)

add_library(mbedcrypto INTERFACE)
target_include_directories(mbedcrypto SYSTEM INTERFACE ${MBEDTLS_INCLUDE_DIR})
target_link_libraries(mbedcrypto INTERFACE ${MBEDCRYPTO_LIBRARY})
