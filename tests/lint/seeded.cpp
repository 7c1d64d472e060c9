// A defect that clang's analyzer finds and a compiler does not: the part lint fails unless it is found here.

int value_of(const int* number) {
    if (number != nullptr) {
        return *number;
    }
    return *number + 1;
}
