// The keys by which peers reach this engine's memory, and the check of every such access.
//
// One table an engine, shared by its lanes. A key is an unguessable 64-bit name for [base, base + length) with access
// rights: an exported region, or the landing of one operation (a receive or a get), which is taken back when the
// operation ends.
//
// Thread rule: Insert, Invalidate and Settled from any thread; Resolve, Pin and Unpin on lanes. Nothing locks or
// allocates after construction.
//
// Lifetime rule. A lane brackets each round of progress with EnterRound and LeaveRound. What Resolve returned may be
// used until LeaveRound; what must live longer (a receive in progress) is pinned. After Invalidate a key resolves to
// kStale at once, and when Settled says so no lane can still be using what it resolved to earlier.
#ifndef MCP_LIB_MEMORY_REGION_TABLE_H_
#define MCP_LIB_MEMORY_REGION_TABLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/random.h"

namespace mcp::internal {

enum AccessRights : uint32_t {
  kAccessRemoteRead = 1u << 0,
  kAccessRemoteWrite = 1u << 1,
};

struct Resolved {
  enum class Outcome : uint8_t {
    kOk,
    kStale,    // a key of this table that was taken back
    kRefused,  // no such key, out of range, or without that right
  };
  Outcome outcome = Outcome::kRefused;
  uint32_t slot = 0;
  std::byte* address = nullptr;
  void* owner = nullptr;  // as given to Insert; null for exported regions
};

class RegionTable {
 public:
  static constexpr uint32_t kLanesMax = 64;

  // Slots are allocated here, once: 64 bytes each.
  RegionTable(uint32_t slots_max, Random random);
  ~RegionTable();
  RegionTable(const RegionTable&) = delete;
  RegionTable& operator=(const RegionTable&) = delete;

  // kResourceExhausted when every slot is taken. `owner` marks a landing and is handed back by Resolve.
  absl::StatusOr<uint64_t> Insert(std::byte* base, uint64_t length, uint32_t access, void* owner);

  // Takes the key back. False if it is not a live key (then nothing changes). The slot is reused once it has settled.
  bool Invalidate(uint64_t key);

  // After Invalidate(key): whether every use of the key that began before has ended. True for a key long gone.
  bool Settled(uint64_t key) const;

  // Counts Invalidate calls: a transport that holds pins looks for withdrawn ones when it changes.
  uint64_t invalidations() const { return invalidations_.load(std::memory_order_acquire); }

  // Checks [offset, offset + length) against the key's range and rights, without overflow.
  Resolved Resolve(uint64_t key, uint64_t offset, uint64_t length, uint32_t access) const;
  // The refusal in words, naming the field and value, for what Resolve refused.
  absl::Status DescribeRefusal(uint64_t key, uint64_t offset, uint64_t length, uint32_t access) const;

  // Keeps the slot from settling beyond this round; the slot must come from a Resolve of this round.
  void Pin(uint32_t slot);
  void Unpin(uint32_t slot);
  // Whether the slot still carries this key, unrevoked.
  bool Valid(uint32_t slot, uint64_t key) const;

  void EnterRound(uint32_t lane);
  void LeaveRound(uint32_t lane);

  uint32_t slots_used() const;

 private:
  struct Slot;
  struct alignas(64) LaneRound {
    std::atomic<uint64_t> count{0};  // odd inside a round
  };
  // to be completed by the implementation
  std::atomic<uint64_t> invalidations_{0};
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_REGION_TABLE_H_
