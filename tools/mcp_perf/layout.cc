#include "tools/mcp_perf/layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/options.h"
#include "tools/mcp_perf/sizes.h"

namespace mcp::perf {
namespace {

constexpr uint64_t kLineBytes = 64;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kReceivesMin = 64;

uint64_t RoundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

absl::Status CheckField(const char* field, uint64_t value, uint64_t min, uint64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("layout: field \"", field, "\": ", value, " is outside ", min, " to ", max));
}

}  // namespace

Layout ChooseLayout(const TestKind& test, uint64_t size, uint64_t outstanding, bool verify) {
  Layout layout;
  layout.size = size;
  layout.step = size < kPageBytes ? kLineBytes : kPageBytes;
  layout.stride = RoundUp(size, layout.step);
  // Primes, so that a slot of the ring meets another phase each time. The phases of small operations stay in a nearest
  // cache of 32 KiB beside what else is touched: an application would send what it has just written.
  layout.phases = !verify ? 1 : size < kPageBytes ? 127 : 61;
  uint64_t slots;
  if (test.latency) {
    slots = std::clamp(kLatencyRingBytes / layout.stride, kLatencySlotsMin, kLatencySlotsMax);
  } else if (verify) {
    slots = std::clamp(kWindowBytes / layout.stride, outstanding, kSlotsMax);
  } else {
    slots = std::clamp(kHotRingBytes / layout.stride, uint64_t{1}, outstanding);
  }
  layout.slots = std::min(slots, std::max(uint64_t{1}, kRingBytesMax / layout.stride));
  if (test.operation == Operation::kSend && test.latency) {
    layout.receives = layout.slots;
  } else if (test.operation == Operation::kSend) {
    layout.receives = std::clamp(4 * outstanding, kReceivesMin, kReceivesMax);
    // Every chain of receives has the same number of slots.
    if (verify) {
      layout.receives = std::min(layout.receives, layout.slots);
      layout.slots -= layout.slots % layout.receives;
    }
  }
  layout.outstanding = test.latency ? 1 : verify ? std::min(outstanding, layout.slots) : outstanding;
  return layout;
}

absl::Status CheckLayout(const Layout& layout) {
  struct Bounds {
    const char* field;
    uint64_t value, min, max;
  };
  const Bounds bounds[] = {
      {"size", layout.size, 1, kSizeMax},
      {"stride", layout.stride, layout.size, kSizeMax + kPageBytes},
      {"slots", layout.slots, 1, kSlotsMax},
      {"step", layout.step, 1, kPageBytes},
      {"phases", layout.phases, 1, kPhasesMax},
      {"outstanding", layout.outstanding, 1, kOutstandingMax},
      {"receives", layout.receives, 0, kReceivesMax},
  };
  for (const Bounds& bound : bounds) {
    if (absl::Status status = CheckField(bound.field, bound.value, bound.min, bound.max); !status.ok()) return status;
  }
  if (layout.slots > 1 && layout.ring_bytes() > kRingBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("layout: ring of ", layout.slots, " slots of ", layout.stride,
                                                   " bytes is over ", FormatSize(kRingBytesMax)));
  }
  return absl::OkStatus();
}

}  // namespace mcp::perf
