#include "lib/base/clock.h"

#include <time.h>

#include "lib/base/units.h"

namespace mcp::internal {

namespace {

int64_t Read(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * kNsPerS + now.tv_nsec;
}

}  // namespace

int64_t SystemClock::NowNs() { return Read(CLOCK_MONOTONIC); }
int64_t SystemClock::CoarseNowNs() { return Read(CLOCK_MONOTONIC_COARSE); }

}  // namespace mcp::internal
