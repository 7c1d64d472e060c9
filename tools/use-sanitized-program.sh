# Sourced by the parts whose tests start the program: builds it with the sanitizers, and makes the tests use it.
tools/build.sh asan prefect-supervisor
export PREFECT_SUPERVISOR_BINARY=$PWD/build/asan/prefect-supervisor
# The leak check traces the program, which gives no core file: only root may do that (ptrace(2)).
export ASAN_OPTIONS=detect_leaks=$((EUID == 0))
