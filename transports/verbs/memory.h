// Memory as the host's RDMA devices know it: registered once, whatever device a connection goes by.
//
// Regions are registered through a cache, in which work finds those that it was not told of. What peers are told the
// key of, a region or an export, has a registration of its own, of exactly its range and rights, so that taking it back
// takes nothing else back and leaves nothing behind. Where operations are protected, peers are let into no region as
// such, but by windows that are bound to it (windows.cc), or by an export.
//
// Thread rule: any thread. FindLocal takes no lock.
#ifndef MCP_TRANSPORTS_VERBS_MEMORY_H_
#define MCP_TRANSPORTS_VERBS_MEMORY_H_

#include <infiniband/verbs.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/memory/registration_cache.h"
#include "lib/memory/remote_window.h"
#include "transports/verbs/calls.h"

namespace mcp::internal {

// One range on every device, for as long as anybody holds it.
struct DeviceRegions {
  VerbsCalls* calls = nullptr;
  std::array<ibv_mr*, kDevicesMax> regions{};
  bool shared = false;  // peers may be let in
  std::atomic<uint32_t> holders{1};

  ~DeviceRegions();
  RemoteWindow Window(const std::byte* address) const;
};

// One holder. Work that a device may do again, though nobody waits for it any more, is one.
class RegionsHold {
 public:
  RegionsHold() = default;
  // Takes over what the maker holds.
  explicit RegionsHold(std::unique_ptr<DeviceRegions> made) : regions_(made.release()) {}
  explicit RegionsHold(DeviceRegions& shared) : regions_(&shared) {
    shared.holders.fetch_add(1, std::memory_order_relaxed);
  }
  RegionsHold(RegionsHold&& other) noexcept : regions_(std::exchange(other.regions_, nullptr)) {}
  RegionsHold& operator=(RegionsHold&& other) noexcept {
    Reset();
    regions_ = std::exchange(other.regions_, nullptr);
    return *this;
  }
  ~RegionsHold() { Reset(); }

  bool valid() const { return regions_ != nullptr; }
  DeviceRegions& operator*() const { return *regions_; }
  void Reset() {
    DeviceRegions* const regions = std::exchange(regions_, nullptr);
    if (regions != nullptr && regions->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete regions;
  }

 private:
  DeviceRegions* regions_ = nullptr;
};

// A grant of this memory, as the data path reads it.
class VerbsGrant : public DeviceMemory::Grant {
 public:
  ~VerbsGrant() override;

  RemoteWindow window() const override { return (*regions_).Window(base_); }
  DeviceRange Part(absl::Span<std::byte> range) const override {
    if (dmabuf_fd_ < 0) return range;
    return {range, dmabuf_fd_, dmabuf_offset_ + static_cast<uint64_t>(range.data() - base_)};
  }
  uint32_t LocalKey(size_t device) const { return (*regions_).regions[device]->lkey; }
  ibv_mr* region(size_t device) const { return (*regions_).regions[device]; }
  RegionsHold Hold() const { return RegionsHold(*regions_); }
  MemoryNode node() const override { return node_; }
  void set_node(MemoryNode node) { node_ = node; }

 protected:
  VerbsGrant(RegionsHold regions, const std::byte* base) : regions_(std::move(regions)), base_(base) {}
  // The descriptor is the grant's from then on.
  VerbsGrant(RegionsHold regions, const std::byte* base, int dmabuf_fd, uint64_t dmabuf_offset)
      : regions_(std::move(regions)), base_(base), dmabuf_fd_(dmabuf_fd), dmabuf_offset_(dmabuf_offset) {}
  bool IsHeldElsewhere(uint32_t own) const { return (*regions_).holders.load(std::memory_order_acquire) > own; }

 private:
  const RegionsHold regions_;
  const std::byte* const base_;
  const int dmabuf_fd_ = -1;
  const uint64_t dmabuf_offset_ = 0;
  MemoryNode node_ = kNoNode;
};

class VerbsMemory final : public DeviceMemory {
 public:
  // What regions are registered for: peers that are told their keys, memory windows that are bound to them, or this
  // side's use alone.
  enum class Regions : uint8_t { kShared, kBindable, kPrivate };
  // The domains outlive this, and this outlives its grants and registrations. `finds_nodes`: registered memory's node
  // is of interest. `on_held`: memory that is let go of is still held by work that nobody waits for; any thread.
  VerbsMemory(VerbsCalls& calls, std::vector<ibv_pd*> domains, Regions kind, bool finds_nodes,
              absl::AnyInvocable<void() const> on_held);

  absl::StatusOr<std::unique_ptr<Grant>> Register(const DeviceRange& range) override;
  absl::StatusOr<std::unique_ptr<Grant>> Export(const DeviceRange& range, uint32_t access) override;

  // A registration that covers the range, if there is one; not valid otherwise.
  Registration FindLocal(const std::byte* address, uint64_t length) { return cache_.Find(address, length); }
  // For memory that is no region. `made`: registered for this use, to be given to Forget when that is over.
  absl::StatusOr<Registration> RegisterOnce(const std::byte* address, uint64_t length, bool* made) {
    return cache_.Acquire(address, length, made);
  }
  void Forget(Registration registration);
  static uint32_t LocalKey(const Registration& registration, size_t device) {
    return reinterpret_cast<const DeviceRegions*>(registration.handle())->regions[device]->lkey;
  }
  static uint32_t LocalKey(const DeviceMemory::Grant& grant, size_t device) {
    return static_cast<const VerbsGrant&>(grant).LocalKey(device);
  }

 private:
  class RegionGrant;
  class OwnGrant;

  absl::StatusOr<std::unique_ptr<VerbsGrant>> MakeGrant(const DeviceRange& range);
  absl::StatusOr<Registration> RegistrationFor(absl::Span<std::byte> range);
  absl::StatusOr<std::unique_ptr<DeviceRegions>> MakeRegions(const DeviceRange& range, unsigned access);
  absl::StatusOr<std::unique_ptr<DeviceRegions>> MakeRegionsAsCanBe(absl::Span<std::byte> range);

  class CacheRegistrar final : public Registrar {
   public:
    explicit CacheRegistrar(VerbsMemory& memory) : memory_(memory) {}
    absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) override;
    void Deregister(uint64_t handle) override {
      RegionsHold(std::unique_ptr<DeviceRegions>(reinterpret_cast<DeviceRegions*>(handle))).Reset();
    }

   private:
    VerbsMemory& memory_;
  };

  VerbsCalls& calls_;
  const std::vector<ibv_pd*> domains_;
  const Regions kind_;
  const bool finds_nodes_;
  const absl::AnyInvocable<void() const> on_held_;
  CacheRegistrar registrar_{*this};
  RegistrationCache cache_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_MEMORY_H_
