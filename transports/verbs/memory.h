// Memory as the host's RDMA devices know it: registered once, whatever device a connection goes by.
//
// Regions are registered through a cache, for the work of this side and for what its operations let peers write. An
// export has a registration of its own, of exactly its range and rights, so that taking it back takes nothing else back
// and leaves nothing behind. Where operations are protected, peers are let into no region as such, but by windows that
// are bound to it (windows.cc), or by an export.
//
// Thread rule: any thread. FindLocal takes no lock.
#ifndef MCP_TRANSPORTS_VERBS_MEMORY_H_
#define MCP_TRANSPORTS_VERBS_MEMORY_H_

#include <infiniband/verbs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/memory/registration_cache.h"
#include "lib/memory/remote_window.h"
#include "transports/verbs/calls.h"

namespace mcp::internal {

// One range on every device.
struct DeviceRegions {
  VerbsCalls* calls = nullptr;
  std::array<ibv_mr*, kDevicesMax> regions{};
  bool shared = false;  // peers may be let in

  ~DeviceRegions();
  RemoteWindow Window(const std::byte* address) const;
};

// A grant of this memory, as the data path reads it.
class VerbsGrant : public DeviceMemory::Grant {
 public:
  RemoteWindow window() const override { return regions_.Window(base_); }
  uint32_t LocalKey(size_t device) const { return regions_.regions[device]->lkey; }
  ibv_mr* region(size_t device) const { return regions_.regions[device]; }

 protected:
  VerbsGrant(const DeviceRegions& regions, const std::byte* base) : regions_(regions), base_(base) {}

 private:
  const DeviceRegions& regions_;
  const std::byte* const base_;
};

class VerbsMemory final : public DeviceMemory {
 public:
  // What regions are registered for: peers that are told their keys, memory windows that are bound to them, or this
  // side's use alone.
  enum class Regions : uint8_t { kShared, kBindable, kPrivate };
  // The domains outlive this, and this outlives its grants and registrations.
  VerbsMemory(VerbsCalls& calls, std::vector<ibv_pd*> domains, Regions kind = Regions::kShared);

  absl::StatusOr<std::unique_ptr<Grant>> Register(absl::Span<std::byte> range) override;
  absl::StatusOr<std::unique_ptr<Grant>> Export(absl::Span<std::byte> range, uint32_t access) override;

  // A registration that covers the range, if there is one; not valid otherwise.
  Registration FindLocal(const std::byte* address, uint64_t length) { return cache_.Find(address, length); }
  // For memory that is no region: registered for one use, to be given to Forget when that is over.
  absl::StatusOr<Registration> RegisterOnce(const std::byte* address, uint64_t length) {
    return cache_.Acquire(address, length);
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
  class ExportGrant;

  absl::StatusOr<std::unique_ptr<DeviceRegions>> MakeRegions(absl::Span<std::byte> range, unsigned access);

  class CacheRegistrar final : public Registrar {
   public:
    explicit CacheRegistrar(VerbsMemory& memory) : memory_(memory) {}
    absl::StatusOr<uint64_t> Register(absl::Span<std::byte> range) override;
    void Deregister(uint64_t handle) override { delete reinterpret_cast<DeviceRegions*>(handle); }

   private:
    VerbsMemory& memory_;
  };

  VerbsCalls& calls_;
  const std::vector<ibv_pd*> domains_;
  const Regions kind_;
  CacheRegistrar registrar_{*this};
  RegistrationCache cache_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_MEMORY_H_
