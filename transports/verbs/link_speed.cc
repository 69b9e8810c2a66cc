#include "transports/verbs/link_speed.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"

namespace mcp::internal {
namespace {

int64_t LaneMegabits(uint32_t code) {
  switch (code) {
    case 1:
      return 2'500;
    case 2:
      return 5'000;
    case 4:
    case 8:
      return 10'000;
    case 16:
      return 14'000;
    case 32:
      return 25'000;
    case 64:
      return 50'000;
    case 128:
      return 100'000;
    case 256:
      return 200'000;
    default:
      return 0;
  }
}

int64_t Lanes(uint8_t code) {
  switch (code) {
    case 1:
      return 1;
    case 2:
      return 4;
    case 4:
      return 8;
    case 8:
      return 12;
    case 16:
      return 2;
    default:
      return 0;
  }
}

int64_t RateMegabits(absl::string_view rate) {
  const size_t end = rate.find(" Gb/sec");
  double gigabits = 0;
  if (end == absl::string_view::npos || !absl::SimpleAtod(rate.substr(0, end), &gigabits)) return 0;
  // Beyond a petabit it is no link's speed.
  return gigabits > 0 && gigabits < 1e6 ? std::llround(1000 * gigabits) : 0;
}

}  // namespace

int64_t LinkMegabits(uint32_t speed_code, uint8_t width_code, absl::string_view rate) {
  return std::max(LaneMegabits(speed_code) * Lanes(width_code), RateMegabits(rate));
}

}  // namespace mcp::internal
