#include "transports/verbs/memory.h"

#include <utility>

#include "lib/base/status_macros.h"
#include "lib/memory/populate.h"
#include "lib/memory/region_table.h"

namespace mcp::internal {
namespace {

// Ranges are exact, since peers are let into them.
constexpr uint64_t kGranularity = 1;

constexpr uint64_t kPopulateBytesMin = uint64_t{1} << 30;

constexpr unsigned kReadOnly = IBV_ACCESS_RELAXED_ORDERING;

unsigned RegionFlags(VerbsMemory::Regions kind) {
  switch (kind) {
    case VerbsMemory::Regions::kShared:
      return IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_RELAXED_ORDERING;
    case VerbsMemory::Regions::kBindable:
      return IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND | IBV_ACCESS_RELAXED_ORDERING;
    case VerbsMemory::Regions::kPrivate:
      break;
  }
  return IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_RELAXED_ORDERING;
}

unsigned AccessFlags(uint32_t access) {
  unsigned flags = IBV_ACCESS_RELAXED_ORDERING;
  if ((access & kAccessRemoteRead) != 0) flags |= IBV_ACCESS_REMOTE_READ;
  // The device wants both for either.
  if ((access & kAccessRemoteWrite) != 0) flags |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  return flags;
}

}  // namespace

DeviceRegions::~DeviceRegions() {
  for (ibv_mr* region : regions) {
    if (region != nullptr) calls->DeregisterMemory(region);
  }
}

RemoteWindow DeviceRegions::Window(const std::byte* address) const {
  RemoteWindow window;
  if (!shared) return window;
  window.address = reinterpret_cast<uint64_t>(address);
  for (size_t i = 0; i < regions.size(); ++i) window.rkeys[i] = regions[i] == nullptr ? 0 : regions[i]->rkey;
  return window;
}

// The caller may unmap the range once the grant is gone, so nothing of it stays in the cache.
class VerbsMemory::RegionGrant final : public VerbsGrant {
 public:
  RegionGrant(VerbsMemory& memory, Registration registration, const std::byte* base)
      : VerbsGrant(*reinterpret_cast<const DeviceRegions*>(registration.handle()), base),
        memory_(memory),
        registration_(std::move(registration)) {}
  ~RegionGrant() override { memory_.Forget(std::move(registration_)); }

 private:
  VerbsMemory& memory_;
  Registration registration_;
};

class VerbsMemory::ExportGrant final : public VerbsGrant {
 public:
  ExportGrant(std::unique_ptr<DeviceRegions> regions, const std::byte* base)
      : VerbsGrant(*regions, base), regions_(std::move(regions)) {}

 private:
  const std::unique_ptr<DeviceRegions> regions_;
};

VerbsMemory::VerbsMemory(VerbsCalls& calls, std::vector<ibv_pd*> domains, Regions kind)
    : calls_(calls), domains_(std::move(domains)), kind_(kind), cache_(registrar_, {.granularity = kGranularity}) {}

absl::StatusOr<std::unique_ptr<DeviceMemory::Grant>> VerbsMemory::Register(absl::Span<std::byte> range) {
  MCP_ASSIGN_OR_RETURN(Registration registration, cache_.Acquire(range.data(), range.size()));
  return std::make_unique<RegionGrant>(*this, std::move(registration), range.data());
}

absl::StatusOr<std::unique_ptr<DeviceMemory::Grant>> VerbsMemory::Export(absl::Span<std::byte> range, uint32_t access) {
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<DeviceRegions> regions, MakeRegions(range, AccessFlags(access)));
  regions->shared = true;
  return std::make_unique<ExportGrant>(std::move(regions), range.data());
}

void VerbsMemory::Forget(Registration registration) {
  const absl::Span<std::byte> range = registration.range();
  registration.Reset();
  cache_.Invalidate(range.data(), range.size());
}

absl::StatusOr<std::unique_ptr<DeviceRegions>> VerbsMemory::MakeRegions(absl::Span<std::byte> range, unsigned access) {
  auto regions = std::make_unique<DeviceRegions>();
  regions->calls = &calls_;
  // Pinning faults pages in one by one; where it is many, several threads do that before. What cannot be populated
  // (memory that may only be read, kernels before 5.14) is left to the device's driver, as is saying why not.
  if (range.size() >= kPopulateBytesMin) PopulatePages(range);
  for (size_t i = 0; i < domains_.size(); ++i) {
    MCP_ASSIGN_OR_RETURN(regions->regions[i], calls_.RegisterMemory(domains_[i], range.data(), range.size(), access));
  }
  return regions;
}

// Memory that may only be read can still be sent from.
absl::StatusOr<uint64_t> VerbsMemory::CacheRegistrar::Register(absl::Span<std::byte> range) {
  absl::StatusOr<std::unique_ptr<DeviceRegions>> regions = memory_.MakeRegions(range, RegionFlags(memory_.kind_));
  const bool writable = regions.ok();
  if (!writable) {
    const absl::Status why = regions.status();
    regions = memory_.MakeRegions(range, kReadOnly);
    if (!regions.ok()) return why;
  }
  (*regions)->shared = writable && memory_.kind_ == Regions::kShared;
  return reinterpret_cast<uint64_t>(regions->release());
}

}  // namespace mcp::internal
