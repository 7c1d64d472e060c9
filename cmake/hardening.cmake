# What the linker and the C library add to the protection of the program that is shipped; the compiler's options are in
# CMakePresets.json. Included before any target, because control-flow protection concerns all code. tools/check-program.sh
# checks the result.
include(CheckCXXSourceCompiles)
include(CheckLinkerFlag)

# A static program at a random address. Packed relative relocations make that cost 60 kB in place of 180 kB; older linkers
# have them not for every processor, and only warn then.
set(static_link_options -static-pie)
check_linker_flag(CXX "-Wl,--fatal-warnings,-z,pack-relative-relocs" LINKER_PACKS_RELOCATIONS)
if(LINKER_PACKS_RELOCATIONS)
  list(APPEND static_link_options -Wl,-z,pack-relative-relocs)
endif()

# Intel's control-flow enforcement works only if every object in the program is compiled for it, the C library's too. That
# of Debian is not.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  set(CMAKE_REQUIRED_FLAGS -fcf-protection=full)
  set(CMAKE_REQUIRED_LINK_OPTIONS -static-pie -Wl,-z,cet-report=error)
  check_cxx_source_compiles("#include <iostream>\nint main() { std::cout << std::endl; }" LIBRARIES_HAVE_CET)
  unset(CMAKE_REQUIRED_FLAGS)
  unset(CMAKE_REQUIRED_LINK_OPTIONS)
  if(LIBRARIES_HAVE_CET)
    add_compile_options(-fcf-protection=full)
  endif()
endif()
