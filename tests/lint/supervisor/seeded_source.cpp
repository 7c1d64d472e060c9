// A defect in a source that another one includes, as a unity file does: the part lint fails unless it is found here.

namespace supervisor {

int* nothing() { return 0; }

}  // namespace supervisor
