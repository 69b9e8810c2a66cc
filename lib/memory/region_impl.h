// What stands behind mcp::Region: a range, its exported keys, and a count of the work in flight that uses it.
//
// The count is sharded, since lanes take and drop a reference for every operation: a lane touches a cache line of its
// own. RegionImpl objects are type-stable (the engine recycles them and frees them only at its end), so that a lane
// that drops the last reference may still look at `generation_` after another has recycled the object.
#ifndef MCP_LIB_MEMORY_REGION_IMPL_H_
#define MCP_LIB_MEMORY_REGION_IMPL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "lib/memory/region_table.h"
#include "lib/memory/remote_window.h"

namespace mcp::internal {

class RegionImpl {
 public:
  // What a region needs of its engine.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Takes keys back and returns when nothing can use them any more.
    virtual void RevokeKeys(const std::vector<uint64_t>& keys) = 0;
    // Runs the function once on every lane, some time after this call, on whatever they are doing.
    virtual void OnEveryLane(absl::AnyInvocable<void() const> function) = 0;
    // The region is unused: its object may serve again.
    virtual void Recycle(RegionImpl* region) = 0;
  };

  // `devices` may be null: see TransportProvider.
  RegionImpl(Owner& owner, RegionTable& table, DeviceMemory* devices)
      : owner_(owner), table_(table), devices_(devices) {}
  RegionImpl(const RegionImpl&) = delete;
  RegionImpl& operator=(const RegionImpl&) = delete;

  // `release` gives the memory back; it runs once the handle is gone and no work uses the region. On an error it was
  // not opened.
  absl::Status Open(const DeviceRange& memory, absl::AnyInvocable<void() &&> release);

  // The handle is gone. Revokes what was exported, then releases the memory now or with the last reference.
  void CloseHandle();

  std::byte* base() const { return base_; }
  uint64_t size() const { return size_; }
  // That its devices are chosen by, if there is a choice.
  MemoryNode node() const { return node_; }
  bool Contains(uint64_t offset, uint64_t length) const { return offset <= size_ && length <= size_ - offset; }

  struct Exported {
    uint64_t key = 0;
    RemoteWindow window;
  };
  absl::StatusOr<Exported> Export(uint32_t access);
  // By which an operation of this engine lets its peer reach the memory from `address` on.
  RemoteWindow WindowAt(const std::byte* address) const { return window_.At(static_cast<uint64_t>(address - base_)); }
  void Revoke();
  // As the devices know the whole of it; null where they need not. Lives as long as the work that uses the region.
  const DeviceMemory::Grant* registration() const { return registered_.get(); }

  // `shard`: the lane's index plus one, or 0 on other threads.
  void Reference(uint32_t shard) { Add(shard, 1); }
  // A lane that does not see the closing yet will be told of it: see CloseHandle.
  void Unreference(uint32_t shard) {
    Add(shard, -1);
    const uint64_t generation = generation_.load(std::memory_order_acquire);
    if (Closing(generation)) ReleaseIfUnused(generation);
  }

 private:
  static constexpr uint32_t kShards = 8;
  struct alignas(64) Shard {
    std::atomic<int64_t> count{0};  // may be negative: only the sum counts
  };

  // A lane's shard is written by that lane alone, so a plain load and store will do; the rest share shard 0.
  void Add(uint32_t shard, int64_t amount) {
    if (shard == 0 || shard >= kShards) {
      shards_[0].count.fetch_add(amount, std::memory_order_acq_rel);
      return;
    }
    std::atomic<int64_t>& count = shards_[shard].count;
    count.store(count.load(std::memory_order_relaxed) + amount, std::memory_order_release);
  }
  static bool Closing(uint64_t generation) { return (generation & 1) != 0; }
  // True once the memory has been released, by this call or another.
  bool ReleaseIfUnused(uint64_t generation);

  Owner& owner_;
  RegionTable& table_;
  DeviceMemory* const devices_;
  std::byte* base_ = nullptr;
  uint64_t size_ = 0;
  MemoryNode node_ = kNoNode;
  absl::AnyInvocable<void() &&> release_;
  std::unique_ptr<DeviceMemory::Grant> registered_;  // null where devices need not know it
  RemoteWindow window_;
  std::mutex keys_mutex_;
  std::vector<uint64_t> keys_;
  std::vector<std::unique_ptr<DeviceMemory::Grant>> exports_;
  std::atomic<uint64_t> generation_{0};  // odd once the handle is gone, even again when recycled
  Shard shards_[kShards];
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_REGION_IMPL_H_
