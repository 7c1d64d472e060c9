# libcurl, built from upstream's release with HTTP and mbedTLS only, and with Debian's security patches. A distribution's
# libcurl.a can't be linked statically: it refers to libraries that exist as shared objects only.
set(CURL_VERSION 8.14.1)
set(CURL_SHA256 6766ada7101d292b42b8b15681120acd68effa4a9660935853cf6d61f0d984d4)
# cmake/curl-patches has every patch of this Debian revision that corrects a CVE in lib/ or include/, as Debian has it.
set(CURL_PATCHES 8.14.1-2+deb13u5)
# The newest Debian revision whose further patches were read, and found to be for code that is not compiled here
# (docs/third-party.md). A test fails as soon as apt offers a newer one.
set(CURL_REVIEWED 8.14.1-2+deb13u7)

set(fetch_curl ${PROJECT_SOURCE_DIR}/tools/fetch-curl.sh)
set(curl_source_from_apt ${PROJECT_SOURCE_DIR}/.deps/curl-${CURL_VERSION}-patched)
if(EXISTS ${curl_source_from_apt}/CMakeLists.txt)
  execute_process(COMMAND ${fetch_curl} --check ${curl_source_from_apt} RESULT_VARIABLE not_patched)
  if(not_patched)
    message(FATAL_ERROR "${curl_source_from_apt} is not patched by the present patches; tools/fetch-curl.sh makes it anew.")
  endif()
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
  CURL_DISABLE_BEARER_AUTH
  CURL_DISABLE_COOKIES
  CURL_DISABLE_DIGEST_AUTH
  CURL_DISABLE_DOH
  CURL_DISABLE_FORM_API
  CURL_DISABLE_GETOPTIONS
  CURL_DISABLE_HSTS
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
  CURL_DISABLE_PROXY
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

# Where the authorities are is known at run time (supervisor/http/route.cpp), and not on the machine that builds.
set(CURL_CA_BUNDLE none CACHE STRING "" FORCE)
set(CURL_CA_PATH none CACHE STRING "" FORCE)

# Other patches get another folder, and with it a release that no patch has touched.
set(curl_patches_dir ${PROJECT_SOURCE_DIR}/cmake/curl-patches)
file(STRINGS ${curl_patches_dir}/series curl_patches)
set(curl_patches_hash "")
foreach(patch IN LISTS curl_patches)
  file(SHA256 ${curl_patches_dir}/${patch} hash)
  string(SHA256 curl_patches_hash "${curl_patches_hash}${hash}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${curl_patches_dir}/${patch})
endforeach()
string(SUBSTRING "${curl_patches_hash}" 0 12 curl_patches_hash)

include(FetchContent)
set(CURL_URL https://curl.se/download/curl-${CURL_VERSION}.tar.gz CACHE STRING "Where curl's release is downloaded from")
FetchContent_Declare(curl
  URL ${CURL_URL}
  URL_HASH SHA256=${CURL_SHA256}
  SOURCE_DIR ${PROJECT_BINARY_DIR}/_deps/curl-${curl_patches_hash}
  PATCH_COMMAND ${fetch_curl} --patch <SOURCE_DIR>
  DOWNLOAD_EXTRACT_TIMESTAMP ON
  SYSTEM)
# A few large files in place of 180 small ones take less than half the time to compile.
set(CMAKE_UNITY_BUILD ON)
FetchContent_MakeAvailable(curl)
set(CMAKE_UNITY_BUILD OFF)
