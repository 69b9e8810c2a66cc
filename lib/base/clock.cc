#include "lib/base/clock.h"

#include <time.h>

#include "lib/base/units.h"

namespace mcp::internal {

int64_t SystemClock::NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * kNsPerS + now.tv_nsec;
}

}  // namespace mcp::internal
