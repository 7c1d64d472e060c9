# libcurl, built from upstream's release with HTTP and mbedTLS only. A distribution's libcurl.a can't be linked
# statically: it refers to libraries that exist as shared objects only.
set(CURL_VERSION 8.14.1)
set(CURL_SHA256 6766ada7101d292b42b8b15681120acd68effa4a9660935853cf6d61f0d984d4)

set(curl_source_from_apt ${PROJECT_SOURCE_DIR}/.deps/curl-${CURL_VERSION})
if(EXISTS ${curl_source_from_apt}/CMakeLists.txt)
  set(FETCHCONTENT_SOURCE_DIR_CURL ${curl_source_from_apt})
endif()

# curl's own set(... CACHE) overwrites plain variables for some of these, hence FORCE.
function(set_curl_options value)
  foreach(option IN LISTS ARGN)
    set(${option} ${value} CACHE BOOL "" FORCE)
  endforeach()
endfunction()

set_curl_options(ON
  BUILD_STATIC_LIBS
  CURL_DISABLE_ALTSVC
  CURL_DISABLE_AWS
  CURL_DISABLE_BASIC_AUTH
  CURL_DISABLE_BEARER_AUTH
  CURL_DISABLE_COOKIES
  CURL_DISABLE_DIGEST_AUTH
  CURL_DISABLE_DOH
  CURL_DISABLE_FORM_API
  CURL_DISABLE_GETOPTIONS
  CURL_DISABLE_HSTS
  CURL_DISABLE_HTTP_AUTH
  CURL_DISABLE_INSTALL
  CURL_DISABLE_IPFS
  CURL_DISABLE_KERBEROS_AUTH
  CURL_DISABLE_LDAP
  CURL_DISABLE_LIBCURL_OPTION
  CURL_DISABLE_MIME
  CURL_DISABLE_NEGOTIATE_AUTH
  CURL_DISABLE_NETRC
  CURL_DISABLE_NTLM
  CURL_DISABLE_PROGRESS_METER
  CURL_DISABLE_SHA512_256
  CURL_DISABLE_WEBSOCKETS
  CURL_ENABLE_SSL
  CURL_USE_MBEDTLS
  ENABLE_THREADED_RESOLVER
  HTTP_ONLY)
set_curl_options(OFF
  BUILD_CURL_EXE
  BUILD_EXAMPLES
  BUILD_LIBCURL_DOCS
  BUILD_MISC_DOCS
  BUILD_SHARED_LIBS
  BUILD_TESTING
  CURL_BROTLI
  CURL_ENABLE_EXPORT_TARGET
  CURL_USE_GSSAPI
  CURL_USE_LIBPSL
  CURL_USE_LIBSSH2
  CURL_USE_OPENSSL
  CURL_ZLIB
  CURL_ZSTD
  ENABLE_CURL_MANUAL
  PICKY_COMPILER
  USE_LIBIDN2
  USE_NGHTTP2)

include(FetchContent)
FetchContent_Declare(curl
  URL https://curl.se/download/curl-${CURL_VERSION}.tar.gz
  URL_HASH SHA256=${CURL_SHA256}
  DOWNLOAD_EXTRACT_TIMESTAMP ON
  SYSTEM)
# A few large files in place of 180 small ones take less than half the time to compile.
set(CMAKE_UNITY_BUILD ON)
FetchContent_MakeAvailable(curl)
set(CMAKE_UNITY_BUILD OFF)
