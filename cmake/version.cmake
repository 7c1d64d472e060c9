# Generates what depends on the commit: the definitions of the constants that supervisor/config/version.hpp declares, the day of
# the commit for the manual page, and the changelog of the Debian package. The commit is looked up at every build; a file is
# rewritten, and what is made of it is made again, only when the commit has changed.
if(CMAKE_SCRIPT_MODE_FILE)
  # A build without the repository, such as an image's, is told which commit it is.
  set(COMMIT "$ENV{SUPERVISOR_COMMIT}")
  if(NOT COMMIT)
    execute_process(
      COMMAND git -C ${SOURCE_DIR} rev-parse --short=12 HEAD
      OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(failed)
      set(COMMIT unknown)
    endif()
  endif()
  # string(TIMESTAMP) takes the time from there.
  if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
    execute_process(
      COMMAND git -C ${SOURCE_DIR} log -1 --format=%ct
      OUTPUT_VARIABLE commit_time OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed)
      set(ENV{SOURCE_DATE_EPOCH} ${commit_time})
    endif()
  endif()
  string(TIMESTAMP DATE %Y-%m-%d UTC)
  string(TIMESTAMP CHANGELOG_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
  configure_file(${SOURCE_DIR}/cmake/version.cpp.in ${OUTPUT}/version.cpp @ONLY)
  configure_file(${SOURCE_DIR}/packaging/debian/changelog.in ${OUTPUT}/changelog @ONLY)
  file(CONFIGURE OUTPUT ${OUTPUT}/date CONTENT "${DATE}\n")
  return()
endif()

set(version_dir ${PROJECT_BINARY_DIR}/version)
add_custom_target(look_up_commit
  COMMAND ${CMAKE_COMMAND}
    -D SOURCE_DIR=${PROJECT_SOURCE_DIR}
    -D OUTPUT=${version_dir}
    -D VERSION=${PROJECT_VERSION}
    "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
    -D CURL_PATCHES=${CURL_PATCHES}
    "-DMAINTAINER=${SUPERVISOR_MAINTAINER}"
    -P ${CMAKE_CURRENT_LIST_FILE}
  BYPRODUCTS ${version_dir}/version.cpp ${version_dir}/date ${version_dir}/changelog
  COMMENT "Looking up the commit"
  VERBATIM)
add_library(supervisor_version STATIC ${version_dir}/version.cpp)
target_include_directories(supervisor_version PRIVATE ${PROJECT_SOURCE_DIR}/supervisor)
add_dependencies(supervisor_version look_up_commit)
