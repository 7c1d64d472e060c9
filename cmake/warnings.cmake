# Our own code is compiled with these warnings; third-party headers are included as SYSTEM and are not checked.
add_library(supervisor_warnings INTERFACE)
target_compile_options(supervisor_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow $<$<BOOL:${SUPERVISOR_WERROR}>:-Werror>)
