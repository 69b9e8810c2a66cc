// include/mcp/region.h.
#include "mcp/region.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/memory/region_impl.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"

namespace mcp {
namespace {

using internal::LoadLittleEndian;
using internal::StoreLittleEndian;

// "MCPR", version, access, key, length, window (three words), checksum of the rest.
constexpr uint32_t kMagic = 0x5250434d;
constexpr uint16_t kVersion = 2;
constexpr size_t kBytes = 56;
constexpr size_t kWindowOffset = 24;
constexpr size_t kChecksumOffset = kBytes - 8;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("remote region: ", what));
}

}  // namespace

std::string RemoteRegion::Serialize() const {
  std::byte bytes[kBytes];
  StoreLittleEndian<uint32_t>(bytes, kMagic);
  StoreLittleEndian<uint16_t>(bytes + 4, kVersion);
  StoreLittleEndian<uint16_t>(bytes + 6, static_cast<uint16_t>(access_));
  StoreLittleEndian<uint64_t>(bytes + 8, key_);
  StoreLittleEndian<uint64_t>(bytes + 16, length_);
  for (size_t i = 0; i < internal::kRemoteWindowWords; ++i) {
    StoreLittleEndian<uint64_t>(bytes + kWindowOffset + 8 * i, window_[i]);
  }
  StoreLittleEndian<uint64_t>(bytes + kChecksumOffset, internal::Checksum(bytes, kChecksumOffset));
  return std::string(reinterpret_cast<const char*>(bytes), kBytes);
}

absl::StatusOr<RemoteRegion> RemoteRegion::Parse(absl::string_view text) {
  if (text.size() != kBytes) return Invalid(absl::StrCat(text.size(), " bytes should be ", kBytes));
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  if (const auto magic = LoadLittleEndian<uint32_t>(bytes); magic != kMagic) {
    return Invalid(absl::StrFormat("magic 0x%08x should be 0x%08x", magic, kMagic));
  }
  if (const auto version = LoadLittleEndian<uint16_t>(bytes + 4); version != kVersion) {
    return Invalid(absl::StrCat("version ", version, " is not spoken here, only ", kVersion));
  }
  if (LoadLittleEndian<uint64_t>(bytes + kChecksumOffset) != internal::Checksum(bytes, kChecksumOffset)) {
    return Invalid("the checksum does not hold");
  }
  const auto access = LoadLittleEndian<uint16_t>(bytes + 6);
  if (access == 0 || access > static_cast<uint16_t>(RemoteAccess::kReadWrite)) {
    return Invalid(absl::StrCat("access ", access));
  }
  RemoteRegion region;
  region.access_ = static_cast<RemoteAccess>(access);
  region.key_ = LoadLittleEndian<uint64_t>(bytes + 8);
  region.length_ = LoadLittleEndian<uint64_t>(bytes + 16);
  for (size_t i = 0; i < internal::kRemoteWindowWords; ++i) {
    region.window_[i] = LoadLittleEndian<uint64_t>(bytes + kWindowOffset + 8 * i);
  }
  return region;
}

Region::Region(Region&& other) noexcept : impl_(std::exchange(other.impl_, nullptr)) {}

Region& Region::operator=(Region&& other) noexcept {
  const Region old(std::exchange(impl_, std::exchange(other.impl_, nullptr)));
  return *this;
}

Region::~Region() {
  if (impl_ != nullptr) impl_->CloseHandle();
}

std::byte* Region::data() const { return impl_ == nullptr ? nullptr : impl_->base(); }
uint64_t Region::size() const { return impl_ == nullptr ? 0 : impl_->size(); }
Slice Region::All() const { return {impl_, 0, size()}; }
Slice Region::Part(uint64_t offset, uint64_t length) const { return {impl_, offset, length}; }

absl::StatusOr<RemoteRegion> Region::Export(RemoteAccess access) const {
  if (impl_ == nullptr) return absl::FailedPreconditionError("export of a region that is not valid");
  RemoteRegion remote;
  MCP_ASSIGN_OR_RETURN(const internal::RegionImpl::Exported exported, impl_->Export(static_cast<uint32_t>(access)));
  remote.key_ = exported.key;
  exported.window.Store(remote.window_);
  remote.length_ = impl_->size();
  remote.access_ = access;
  return remote;
}

void Region::Revoke() {
  if (impl_ != nullptr) impl_->Revoke();
}

}  // namespace mcp
