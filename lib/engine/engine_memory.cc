// Registered memory of an engine.
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/engine/engine_impl.h"
#include "lib/memory/host_memory.h"

namespace mcp::internal {

RegionImpl* EngineImpl::NewRegion() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (region_free_.empty()) {
    region_objects_.push_back(std::make_unique<RegionImpl>(*this, *regions_, provider_->device_memory()));
    return region_objects_.back().get();
  }
  RegionImpl* region = region_free_.back();
  region_free_.pop_back();
  return region;
}

void EngineImpl::OnEveryLane(absl::AnyInvocable<void() const> function) {
  auto shared = std::make_shared<absl::AnyInvocable<void() const>>(std::move(function));
  for (const auto& lane : lanes_) lane->Run([shared] { (*shared)(); });
}

void EngineImpl::Recycle(RegionImpl* region) {
  const std::lock_guard<std::mutex> lock(mutex_);
  region_free_.push_back(region);
}

absl::StatusOr<Region> EngineImpl::Register(void* data, uint64_t size, const RegionOptions& options) {
  if (data == nullptr || size == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("register: ", size, " bytes at ", data == nullptr ? "null" : "data"));
  }
  // Devices are told of whole pages: a place in a page is one in both.
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (options.dmabuf_fd >= 0 && (reinterpret_cast<uint64_t>(data) ^ options.dmabuf_offset) % page_bytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat("register: RegionOptions::dmabuf_offset ", options.dmabuf_offset,
                                                   " is not where in a page the data are"));
  }
  absl::AnyInvocable<void()&&> release = [] {};
  if (options.pin) {
    MCP_ASSIGN_OR_RETURN(Registration pinned, pinned_.Acquire(data, size));
    // The caller may unmap the range then: what is at its address later is not what was pinned.
    release = [this, data, size, pinned = std::move(pinned)]() mutable {
      pinned.Reset();
      pinned_.Invalidate(data, size);
    };
  }
  RegionImpl* region = NewRegion();
  const absl::Span<std::byte> bytes(static_cast<std::byte*>(data), size);
  return OpenRegion(region, {bytes, options.dmabuf_fd, options.dmabuf_offset}, std::move(release));
}

absl::StatusOr<Region> EngineImpl::Allocate(uint64_t size, const RegionOptions& options) {
  if (size == 0) return absl::InvalidArgumentError("allocate: 0 bytes");
  if (options.dmabuf_fd >= 0) return absl::InvalidArgumentError("allocate: RegionOptions::dmabuf_fd is for Register");
  MCP_ASSIGN_OR_RETURN(HostMemory memory, AllocateHostMemory(size, options.pin));
  std::byte* data = memory.data();
  RegionImpl* region = NewRegion();
  return OpenRegion(region, absl::Span<std::byte>(data, size),
                    [memory = std::move(memory)]() mutable { memory.Reset(); });
}

absl::StatusOr<Region> EngineImpl::OpenRegion(RegionImpl* region, const DeviceRange& memory,
                                              absl::AnyInvocable<void() &&> release) {
  if (absl::Status opened = region->Open(memory, std::move(release)); !opened.ok()) {
    Recycle(region);
    return opened;
  }
  return Region(region);
}

// Whoever still uses a key does so within a round or under a pin: each lane is asked to come by, which ends its round
// and lets its transport stop what is under way, until no use is left.
void EngineImpl::RevokeKeys(const std::vector<uint64_t>& keys) {
  for (const uint64_t key : keys) regions_->Invalidate(key);
  MCP_ASSERT(Lane::Current() == nullptr);
  const auto settled = [&] {
    for (const uint64_t key : keys) {
      if (!regions_->Settled(key)) return false;
    }
    return true;
  };
  if (Lane::Current() != nullptr) {
    if (!settled()) logger_->Log(LogLevel::kError, "a region was revoked inside a completion: a peer may still write");
    return;
  }
  while (!settled()) {
    for (const auto& lane : lanes_) RunAndWait(*lane, [] {});
  }
}

}  // namespace mcp::internal
