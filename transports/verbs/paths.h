// Which ways lead to a peer: pairs of an address of this host's devices and one of the peer's, best first; and what is
// known of peers that were reached before.
//
// Nobody knows beforehand which pair can talk, since routes and fabrics are not ours to read: a pair is tried, and the
// next one when it can't be reached. So the order is all there is to decide.
#ifndef MCP_TRANSPORTS_VERBS_PATHS_H_
#define MCP_TRANSPORTS_VERBS_PATHS_H_

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "transports/verbs/address.h"

namespace mcp::internal {

struct VerbsPath {
  std::optional<VerbsAddress> source;  // none: the route to the target decides
  VerbsAddress target;
};

// All pairs. The first max(sources, targets) use each end as often as any other, so that rails which take them in turn
// spread over the devices of both hosts; a source goes with the target that shares the longest prefix with it and is
// not taken yet, as the ports of one plane of a fabric mostly are of one network (RFC 6724, rule 8). Both lists come
// best first, and are not empty; the first pair is that of their first entries. `spread` is the number of pairs before
// repetition begins.
struct VerbsPaths {
  std::vector<VerbsPath> pairs;
  size_t spread = 0;
};
VerbsPaths PairUp(absl::Span<const VerbsAddress> sources, absl::Span<const VerbsAddress> targets);

// What an acceptor told of itself. Any thread.
class VerbsPeers {
 public:
  struct Peer {
    VerbsAddress source;               // of this host, from which the peer was reached at the address it goes by
    std::vector<VerbsAddress> others;  // of the peer's other devices
  };

  void Learn(absl::string_view address, Peer peer);
  std::optional<Peer> Find(absl::string_view address) const;

 private:
  // A host that meets more forgets them all: each is learned again with the next first rail.
  static constexpr size_t kPeersMax = 4096;

  mutable std::mutex mutex_;
  absl::flat_hash_map<std::string, Peer> peers_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_PATHS_H_
