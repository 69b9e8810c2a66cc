#include "transports/verbs/memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lib/base/errno_status.h"
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

// Ports of one device have one between them.
DeviceRegions::~DeviceRegions() {
  for (auto region = regions.begin(); region != regions.end(); ++region) {
    if (*region != nullptr && std::find(regions.begin(), region, *region) == region) calls->DeregisterMemory(*region);
  }
}

RemoteWindow DeviceRegions::Window(const std::byte* address) const {
  RemoteWindow window;
  if (!shared) return window;
  window.address = reinterpret_cast<uint64_t>(address);
  for (size_t i = 0; i < regions.size(); ++i) {
    if (regions[i] != nullptr) window.set_rkey(i, regions[i]->rkey);
  }
  return window;
}

VerbsGrant::~VerbsGrant() {
  if (dmabuf_fd_ >= 0) close(dmabuf_fd_);
}

// The caller may unmap the range once the grant is gone, so nothing of it stays in the cache.
class VerbsMemory::RegionGrant final : public VerbsGrant {
 public:
  RegionGrant(VerbsMemory& memory, Registration registration, const std::byte* base)
      : VerbsGrant(RegionsHold(*reinterpret_cast<DeviceRegions*>(registration.handle())), base),
        memory_(memory),
        registration_(std::move(registration)) {}
  ~RegionGrant() override {
    const bool held = IsHeldElsewhere(2);  // the cache's and ours
    memory_.Forget(std::move(registration_));
    if (held) memory_.on_held_();
  }

 private:
  VerbsMemory& memory_;
  Registration registration_;
};

// Of a registration that is not in the cache: an export, a region over memory of another, or memory of a dma-buf, which
// the cache cannot tell from what else was at its address.
class VerbsMemory::OwnGrant final : public VerbsGrant {
 public:
  OwnGrant(VerbsMemory& memory, std::unique_ptr<DeviceRegions> regions, const DeviceRange& range, int dmabuf_fd)
      : VerbsGrant(RegionsHold(std::move(regions)), range.bytes.data(), dmabuf_fd, range.dmabuf_offset),
        memory_(memory) {}
  ~OwnGrant() override {
    if (IsHeldElsewhere(1)) memory_.on_held_();
  }

 private:
  VerbsMemory& memory_;
};

VerbsMemory::VerbsMemory(VerbsCalls& calls, std::vector<ibv_pd*> domains, Regions kind, bool finds_nodes,
                         absl::AnyInvocable<void() const> on_held)
    : calls_(calls),
      domains_(std::move(domains)),
      kind_(kind),
      finds_nodes_(finds_nodes),
      on_held_(std::move(on_held)),
      cache_(registrar_, {.granularity = kGranularity}) {}

// Pinned by now, so that its pages are there and stay where they are.
absl::StatusOr<std::unique_ptr<DeviceMemory::Grant>> VerbsMemory::Register(const DeviceRange& range) {
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<VerbsGrant> grant, MakeGrant(range));
  if (finds_nodes_) grant->set_node(calls_.NodeOf(range.bytes).value_or(kNoNode));
  return grant;
}

absl::StatusOr<std::unique_ptr<VerbsGrant>> VerbsMemory::MakeGrant(const DeviceRange& range) {
  if (range.dmabuf_fd < 0) {
    MCP_ASSIGN_OR_RETURN(Registration registration, RegistrationFor(range.bytes));
    if (registration.valid()) {
      return std::make_unique<RegionGrant>(*this, std::move(registration), range.bytes.data());
    }
    MCP_ASSIGN_OR_RETURN(std::unique_ptr<DeviceRegions> regions, MakeRegionsAsCanBe(range.bytes));
    return std::make_unique<OwnGrant>(*this, std::move(regions), range, -1);
  }
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<DeviceRegions> regions, MakeRegions(range, RegionFlags(kind_)));
  regions->shared = kind_ == Regions::kShared;
  const int kept = fcntl(range.dmabuf_fd, F_DUPFD_CLOEXEC, 0);  // for exports
  if (kept < 0) return ErrnoStatus(errno, "register: duplicate the dma-buf's descriptor");
  return std::make_unique<OwnGrant>(*this, std::move(regions), range, kept);
}

// A key that peers are told is of one region alone: of no more than its bytes, and for no longer than it is open. Where
// peers are told none, regions may share. Not valid: others are in the way of one that is found in the cache.
absl::StatusOr<Registration> VerbsMemory::RegistrationFor(absl::Span<std::byte> range) {
  if (kind_ == Regions::kShared) return cache_.AcquireApart(range.data(), range.size());
  return cache_.Acquire(range.data(), range.size());
}

absl::StatusOr<std::unique_ptr<DeviceMemory::Grant>> VerbsMemory::Export(const DeviceRange& range, uint32_t access) {
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<DeviceRegions> regions, MakeRegions(range, AccessFlags(access)));
  regions->shared = true;
  return std::make_unique<OwnGrant>(*this, std::move(regions), range, -1);
}

void VerbsMemory::Forget(Registration registration) {
  const absl::Span<std::byte> range = registration.range();
  registration.Reset();
  cache_.Invalidate(range.data(), range.size());
}

absl::StatusOr<std::unique_ptr<DeviceRegions>> VerbsMemory::MakeRegions(const DeviceRange& range, unsigned access) {
  auto regions = std::make_unique<DeviceRegions>();
  regions->calls = &calls_;
  const absl::Span<std::byte> bytes = range.bytes;
  // Pinning faults pages in one by one; where it is many, several threads do that before. What cannot be populated
  // (memory that may only be read, kernels before 5.14) is left to the device's driver, as is saying why not.
  if (range.dmabuf_fd < 0 && bytes.size() >= kPopulateBytesMin) PopulatePages(bytes);
  for (size_t i = 0; i < domains_.size(); ++i) {
    const auto same = static_cast<size_t>(std::find(domains_.begin(), domains_.end(), domains_[i]) - domains_.begin());
    if (same < i) {
      regions->regions[i] = regions->regions[same];
    } else if (range.dmabuf_fd < 0) {
      MCP_ASSIGN_OR_RETURN(regions->regions[i], calls_.RegisterMemory(domains_[i], bytes.data(), bytes.size(), access));
    } else {
      MCP_ASSIGN_OR_RETURN(regions->regions[i], calls_.RegisterDmabuf(domains_[i], range.dmabuf_fd, range.dmabuf_offset,
                                                                      bytes.data(), bytes.size(), access));
    }
  }
  return regions;
}

// Memory that may only be read can still be sent from.
absl::StatusOr<std::unique_ptr<DeviceRegions>> VerbsMemory::MakeRegionsAsCanBe(absl::Span<std::byte> range) {
  absl::StatusOr<std::unique_ptr<DeviceRegions>> regions = MakeRegions(range, RegionFlags(kind_));
  const bool writable = regions.ok();
  if (!writable) {
    const absl::Status why = regions.status();
    regions = MakeRegions(range, kReadOnly);
    if (!regions.ok()) return why;
  }
  (*regions)->shared = writable && kind_ == Regions::kShared;
  return regions;
}

absl::StatusOr<uint64_t> VerbsMemory::CacheRegistrar::Register(absl::Span<std::byte> range) {
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<DeviceRegions> regions, memory_.MakeRegionsAsCanBe(range));
  return reinterpret_cast<uint64_t>(regions.release());
}

}  // namespace mcp::internal
