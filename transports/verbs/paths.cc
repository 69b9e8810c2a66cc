#include "transports/verbs/paths.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace mcp::internal {
namespace {

// In bits; of one family.
int SharedPrefix(const VerbsAddress& a, const VerbsAddress& b) {
  const absl::Span<const uint8_t> left = a.host_bytes();
  const absl::Span<const uint8_t> right = b.host_bytes();
  int bits = 0;
  for (size_t i = 0; i < std::min(left.size(), right.size()); ++i, bits += 8) {
    const auto differing = static_cast<uint8_t>(left[i] ^ right[i]);
    if (differing != 0) return bits + std::countl_zero(differing);
  }
  return bits;
}

}  // namespace

VerbsPaths PairUp(absl::Span<const VerbsAddress> sources, absl::Span<const VerbsAddress> targets) {
  VerbsPaths paths;
  paths.spread = std::max(sources.size(), targets.size());
  std::vector<size_t> used(targets.size(), 0);
  std::vector<std::vector<bool>> paired(sources.size(), std::vector<bool>(targets.size(), false));
  for (size_t i = 0; i < paths.spread; ++i) {
    const size_t source = i % sources.size();
    size_t best = targets.size();
    for (size_t target = 0; target < (i == 0 ? 1 : targets.size()); ++target) {
      if (paired[source][target]) continue;
      if (best < targets.size() && std::pair(used[target], -SharedPrefix(sources[source], targets[target])) >=
                                       std::pair(used[best], -SharedPrefix(sources[source], targets[best]))) {
        continue;
      }
      best = target;
    }
    ++used[best];
    paired[source][best] = true;
    paths.pairs.push_back({sources[source], targets[best]});
  }
  for (size_t source = 0; source < sources.size(); ++source) {
    for (size_t target = 0; target < targets.size(); ++target) {
      if (!paired[source][target]) paths.pairs.push_back({sources[source], targets[target]});
    }
  }
  return paths;
}

void VerbsPeers::Learn(absl::string_view address, Peer peer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (peers_.size() >= kPeersMax && !peers_.contains(address)) peers_.clear();
  peers_[address] = std::move(peer);
}

std::optional<VerbsPeers::Peer> VerbsPeers::Find(absl::string_view address) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = peers_.find(address);
  if (found == peers_.end()) return std::nullopt;
  return found->second;
}

}  // namespace mcp::internal
