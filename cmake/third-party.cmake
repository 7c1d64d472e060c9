# What is in the program besides our own code: THIRD_PARTY_NOTICES with the texts of the licences, which --licenses prints, and
# an SBOM (software bill of materials) in SPDX's JSON.
set(third_party_dir ${PROJECT_BINARY_DIR}/third-party)
set(third_party_script ${CMAKE_CURRENT_LIST_DIR}/third-party.sh)

# The packages' versions are read again when a package was installed, and the bill of materials names the commit.
set(package_database /var/lib/dpkg/status)
if(NOT EXISTS ${package_database})
  set(package_database "")
endif()

add_custom_command(
  OUTPUT ${third_party_dir}/licenses.cpp ${third_party_dir}/THIRD_PARTY_NOTICES ${third_party_dir}/prefect-supervisor.spdx.json
  COMMAND ${CMAKE_COMMAND} -E env
    "OUTPUT=${third_party_dir}"
    "VERSION=${PROJECT_VERSION}"
    "COMPILER=${CMAKE_CXX_COMPILER}"
    "PROCESSOR=${CMAKE_SYSTEM_PROCESSOR}"
    "SYSROOT=${CMAKE_FIND_ROOT_PATH}"
    "CURL_SOURCE=${curl_SOURCE_DIR}"
    "CURL_VERSION=${CURL_VERSION}"
    "CURL_SHA256=${CURL_SHA256}"
    "CURL_PATCHES=${CURL_PATCHES}"
    "MBEDTLS_SOURCE=${mbedtls_SOURCE_DIR}"
    "MBEDTLS_VERSION=${MBEDTLS_VERSION}"
    "MBEDTLS_SHA256=${MBEDTLS_SHA256}"
    "MBEDTLS_URL=${MBEDTLS_URL}"
    bash ${third_party_script}
  DEPENDS ${third_party_script} ${CMAKE_CURRENT_LIST_DIR}/curl.cmake ${CMAKE_CURRENT_LIST_DIR}/mbedtls.cmake ${package_database} ${version_dir}/version.cpp
  COMMENT "Collecting the licences of what is linked in"
  VERBATIM)
add_library(supervisor_licenses STATIC ${third_party_dir}/licenses.cpp)
target_include_directories(supervisor_licenses PRIVATE ${PROJECT_SOURCE_DIR}/supervisor)
