// Work that goes by one rail goes by one whose device is near to its memory, where that is not busier than others.
//
// What that takes is found when a rail comes or goes, and when a region is registered: for work there is one look-up,
// which says that nothing is nearer wherever there is one device, one node, or memory on several.
#include <algorithm>
#include <limits>

#include "absl/base/attributes.h"
#include "absl/strings/str_cat.h"
#include "lib/session/near_rails.h"
#include "lib/session/session_impl.h"

namespace mcp::internal {

// Of rails `first`, `first + step` and so on that are up and have a place: the one with the least to do, where those
// that are not near have kFarBytes more. Null: there is none.
ABSL_ATTRIBUTE_NOINLINE Rail* SessionImpl::LeastLoaded(RailMask near, uint64_t length, uint32_t first, uint32_t step) {
  const int64_t weight = std::max(static_cast<int64_t>(length), kOperationBytesMin);
  Rail* least = nullptr;
  int64_t least_bytes = std::numeric_limits<int64_t>::max();
  for (uint32_t i = first; i < rail_count_; i += step) {
    Rail& rail = *rails_[i];
    if (!rail.TakesWork() || rail.places().count() >= outstanding_max_per_rail_) continue;
    const int64_t bytes = rail.LoadBytes(weight) + ((near >> i & 1) != 0 ? 0 : kFarBytes);
    if (bytes >= least_bytes) continue;
    least = &rail;
    least_bytes = bytes;
  }
  return least;
}

// With the mutex held: whichever lane comes last has seen what the others did before.
void SessionImpl::FindNearRails() {
  RailMask up = 0;
  for (uint16_t i = 0; i < rail_count_; ++i) {
    if (rails_[i]->up()) up |= RailMask{1} << i;
  }
  const NearRails near = NearestRails(distances_, up);
  for (size_t node = 0; node < near.size(); ++node) {
    near_rails_[node].store(static_cast<uint8_t>(near[node]), std::memory_order_relaxed);
  }
}

// Empty where it is not nearer than others to any memory.
std::string SessionImpl::NearnessNote(uint16_t rail) const {
  std::string nodes;
  for (size_t node = kNoNode + 1; node < near_rails_.size(); ++node) {
    if ((near_rails_[node].load(std::memory_order_relaxed) >> rail & 1) == 0) continue;
    absl::StrAppend(&nodes, nodes.empty() ? "" : ", ", node - 1);
  }
  if (nodes.empty()) return nodes;
  return absl::StrCat("preferred for what goes by one rail from or to memory of NUMA node ", nodes);
}

}  // namespace mcp::internal
