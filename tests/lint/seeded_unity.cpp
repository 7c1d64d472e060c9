#include "supervisor/seeded_source.cpp"
