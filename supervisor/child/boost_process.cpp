// The compiled half of Boost.Process: its header-only form of 1.83 leaves a symbol undefined.
#include <boost/process/v2/src.hpp>
