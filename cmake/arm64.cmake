# Toolchain file: the distribution's cross compiler for arm64, with the libraries that fetch-arm64.sh gets. The C and C++
# libraries are the cross compiler's own.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(CMAKE_FIND_ROOT_PATH ${CMAKE_CURRENT_LIST_DIR}/../.deps/arm64/sysroot)
if(NOT EXISTS ${CMAKE_FIND_ROOT_PATH})
  message(FATAL_ERROR "There are no arm64 libraries in .deps/arm64/sysroot; tools/fetch-arm64.sh gets them.")
endif()
# Boost's CMake files follow symbolic links, and .deps may be one: the program must not name the folder behind it.
file(REAL_PATH ${CMAKE_FIND_ROOT_PATH} sysroot)
add_compile_options(-ffile-prefix-map=${sysroot}=./.deps/arm64/sysroot)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Tests run in the emulator, by its name: the machine need not know how to execute arm64 programs. They are static, so
# the emulator needs no arm64 libraries.
find_program(qemu_aarch64 NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu_aarch64})
