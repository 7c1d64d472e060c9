#pragma once

namespace supervisor::tests {

/// How many of the calling thread's next calls of epoll_ctl(2) that add or change a descriptor fail, with ENOMEM. The
/// executable's own epoll_ctl() takes the place of the C library's, and counts down.
int& epoll_failures();

}  // namespace supervisor::tests
