# Our own code is compiled with these; other people's headers come in as SYSTEM and are left alone.
add_library(supervisor_warnings INTERFACE)
target_compile_options(supervisor_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow $<$<BOOL:${SUPERVISOR_WERROR}>:-Werror>)
