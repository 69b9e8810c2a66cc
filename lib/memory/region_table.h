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
#include "lib/memory/region_key.h"
#include "lib/memory/remote_window.h"

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
  // Of an exported region, as given to InsertExport.
  const DeviceMemory::Grant* registered = nullptr;
};

class RegionTable {
 public:
  static constexpr uint32_t kLanesMax = 64;

  // Slots are allocated here, once: 64 bytes each. At most kRegionSlotsMax.
  RegionTable(uint32_t slots_max, Random random);
  ~RegionTable();
  RegionTable(const RegionTable&) = delete;
  RegionTable& operator=(const RegionTable&) = delete;

  // kResourceExhausted when every slot is taken or has not settled. Never 0. `owner` marks a landing and is handed back
  // by Resolve.
  absl::StatusOr<uint64_t> Insert(std::byte* base, uint64_t length, uint32_t access, void* owner) {
    return Insert(base, length, access, owner != nullptr ? Kind::kLanding : Kind::kExport, owner);
  }
  // The same for a region that devices know: what sends from it goes by `registered`, which lives until the key has
  // settled.
  absl::StatusOr<uint64_t> InsertExport(std::byte* base, uint64_t length, uint32_t access,
                                        const DeviceMemory::Grant* registered) {
    return Insert(base, length, access, Kind::kExport, registered);
  }

  // Takes the key back. False if it is not a live key (then nothing changes). The slot is reused once it has settled.
  bool Invalidate(uint64_t key);

  // After Invalidate(key): whether every use of the key that began before has ended. True for a key long gone.
  bool Settled(uint64_t key) const;

  // The same for a landing, sooner: landings are used only under TryPin, so that no round needs to end.
  bool LandingSettled(uint64_t key) const;

  // Counts Invalidate calls: a transport that holds pins looks for withdrawn ones when it changes.
  uint64_t invalidations() const { return invalidations_.load(std::memory_order_acquire); }

  // Checks [offset, offset + length) against the key's range and rights, without overflow.
  Resolved Resolve(uint64_t key, uint64_t offset, uint64_t length, uint32_t access) const;
  // The refusal in words, naming the field and value, for what Resolve refused.
  absl::Status DescribeRefusal(uint64_t key, uint64_t offset, uint64_t length, uint32_t access) const;

  // Of a stale key: whether it named a landing, which goes when its operation ends, whoever still writes to it.
  bool WasLanding(uint64_t key) const { return (cipher_.Use(key) & 1) == 0; }

  // Keeps the slot from settling beyond this round; the slot must come from a Resolve of this round.
  void Pin(uint32_t slot);
  // The same for a key that another thread may be taking back: false, and not pinned, if it has been.
  bool TryPin(uint32_t slot, uint64_t key);
  void Unpin(uint32_t slot);
  // Whether the slot still carries this key, unrevoked.
  bool Valid(uint32_t slot, uint64_t key) const;

  void EnterRound(uint32_t lane);
  void LeaveRound(uint32_t lane);

  // Live keys now.
  uint32_t slots_used() const { return slots_used_.load(std::memory_order_relaxed); }

 private:
  enum class Kind : uint8_t { kExport, kLanding };
  struct Slot;
  // A stack of slots. The head carries a count, so that a slot that went and came back is not taken for unchanged.
  struct SlotStack {
    std::atomic<uint64_t> head{0};  // count << 32 | slot + 1; 0 in the low half: empty
  };
  struct alignas(64) LaneRound {
    std::atomic<uint64_t> epoch{0};  // 0 outside a round; inside: the invalidations seen on entering << 1 | 1
  };

  Slot* SlotOf(uint64_t key) const;
  Resolved::Outcome OutcomeOfDeadKey(uint64_t key) const;
  bool IsSettled(const Slot& slot) const;
  uint64_t AdvanceSettledThrough() const;

  absl::StatusOr<uint64_t> Insert(std::byte* base, uint64_t length, uint32_t access, Kind kind, const void* subject);
  bool TakeSlot(uint32_t* slot);
  void SweepRetired();
  void Push(SlotStack* stack, uint32_t slot);
  bool Pop(SlotStack* stack, uint32_t* slot);

  // Read by every Resolve, never written: apart from what changes.
  const uint32_t slots_max_;
  const RegionKeyCipher cipher_;
  const std::unique_ptr<Slot[]> slots_;

  alignas(64) std::atomic<uint64_t> invalidations_{0};
  mutable std::atomic<uint64_t> settled_through_{0};  // rounds that might use keys taken back up to here have ended
  std::atomic<uint32_t> lanes_seen_{0};               // highest lane that ever entered a round, plus one

  alignas(64) SlotStack free_;
  SlotStack retired_;                       // taken back, and perhaps not settled
  std::atomic<uint32_t> slots_touched_{0};  // slots from here on were never used
  std::atomic<uint32_t> slots_used_{0};
  std::atomic<uint64_t> swept_through_{0};  // settled_through_ at the last sweep of retired_

  LaneRound rounds_[kLanesMax];
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_REGION_TABLE_H_
