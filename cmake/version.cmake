# Generates the definitions of the constants that supervisor/config/version.hpp declares. The commit is looked up at every
# build; the file is rewritten, and compiled again, only when the commit has changed.
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
  configure_file(${SOURCE_DIR}/cmake/version.cpp.in ${OUTPUT} @ONLY)
  return()
endif()

set(version_dir ${PROJECT_BINARY_DIR}/version)
add_custom_target(look_up_commit
  COMMAND ${CMAKE_COMMAND}
    -D SOURCE_DIR=${PROJECT_SOURCE_DIR}
    -D OUTPUT=${version_dir}/version.cpp
    -D VERSION=${PROJECT_VERSION}
    "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
    -P ${CMAKE_CURRENT_LIST_FILE}
  BYPRODUCTS ${version_dir}/version.cpp
  COMMENT "Looking up the commit"
  VERBATIM)
add_library(supervisor_version STATIC ${version_dir}/version.cpp)
target_include_directories(supervisor_version PRIVATE ${PROJECT_SOURCE_DIR}/supervisor)
add_dependencies(supervisor_version look_up_commit)
