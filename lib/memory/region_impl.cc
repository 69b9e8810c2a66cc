#include "lib/memory/region_impl.h"

#include <utility>

#include "lib/base/status_macros.h"

namespace mcp::internal {

absl::Status RegionImpl::Open(const DeviceRange& memory, absl::AnyInvocable<void() &&> release) {
  window_ = RemoteWindow();
  node_ = kNoNode;
  if (devices_ != nullptr) {
    MCP_ASSIGN_OR_RETURN(registered_, devices_->Register(memory));
    window_ = registered_->window();
    node_ = registered_->node();
  }
  base_ = memory.bytes.data();
  size_ = memory.bytes.size();
  release_ = std::move(release);
  return absl::OkStatus();
}

void RegionImpl::CloseHandle() {
  Revoke();
  const uint64_t generation = generation_.fetch_add(1, std::memory_order_seq_cst) + 1;
  if (ReleaseIfUnused(generation)) return;
  // Lanes count without fences, so one of them may just have dropped the last reference without seeing the closing.
  // Each looks once more after this moment; of two that look at the same time, the fence lets one see the other's.
  owner_.OnEveryLane([this, generation] { ReleaseIfUnused(generation); });
}

absl::StatusOr<RegionImpl::Exported> RegionImpl::Export(uint32_t access) {
  std::unique_ptr<DeviceMemory::Grant> grant;
  Exported exported;
  if (devices_ != nullptr) {
    MCP_ASSIGN_OR_RETURN(grant, devices_->Export(registered_->Part({base_, size_}), access));
    exported.window = grant->window();
  }
  MCP_ASSIGN_OR_RETURN(exported.key, table_.InsertExport(base_, size_, access, registered_.get()));
  const std::lock_guard<std::mutex> lock(keys_mutex_);
  keys_.push_back(exported.key);
  if (grant != nullptr) exports_.push_back(std::move(grant));
  return exported;
}

void RegionImpl::Revoke() {
  std::vector<uint64_t> keys;
  std::vector<std::unique_ptr<DeviceMemory::Grant>> exports;
  {
    const std::lock_guard<std::mutex> lock(keys_mutex_);
    keys.swap(keys_);
    exports.swap(exports_);
  }
  exports.clear();  // devices first: what they still place is then not taken for a write under a valid key
  if (!keys.empty()) owner_.RevokeKeys(keys);
}

// Within one odd generation no reference is added, so the counts only fall: a sum read as zero is zero. A caller that
// was overtaken by a recycling fails the exchange, since the generation has moved on.
bool RegionImpl::ReleaseIfUnused(uint64_t generation) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  int64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.count.load(std::memory_order_seq_cst);
  if (sum != 0) return false;
  if (!generation_.compare_exchange_strong(generation, generation + 1, std::memory_order_seq_cst)) return true;
  for (Shard& shard : shards_) shard.count.store(0, std::memory_order_relaxed);
  registered_.reset();
  if (release_) std::move(release_)();
  release_ = nullptr;
  owner_.Recycle(this);
  return true;
}

}  // namespace mcp::internal
