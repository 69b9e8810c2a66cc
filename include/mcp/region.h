// Registered memory.
//
// A Region is memory that transports may touch directly. It is move-only and belongs to one Engine, which must outlive
// it. Work in flight keeps the registration alive; the bytes themselves stay the caller's, who must not free them
// before the completions of the work that uses them have run.
//
// Thread rule: const members may be called from any thread. Moving and destroying a Region need outside
// synchronisation, as with any value.
//
// Destroying an exported Region revokes it first: the destructor returns only when no peer can write to the memory any
// more. A peer that is writing to it at that moment loses its session, as it would with an RDMA device. Since that wait
// needs the lanes, an exported Region must not be revoked or destroyed inside a completion.
#ifndef MCP_REGION_H_
#define MCP_REGION_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mcp/export.h"

namespace mcp {

namespace internal {
class RegionImpl;
}  // namespace internal

// What a peer that holds the RemoteRegion may do.
enum class RemoteAccess : uint32_t {
  kRead = 1,
  kWrite = 2,
  kReadWrite = 3,
};

// A contiguous part of a Region. It does not own anything: the Region must be alive when the slice is passed to an
// operation, not longer.
struct Slice {
  internal::RegionImpl* region = nullptr;
  uint64_t offset = 0;  // bytes from the region's start
  uint64_t length = 0;  // bytes
};

// A peer's exported region: what Put and Get address. A plain value; send it to the peer by any means.
class MCP_EXPORT RemoteRegion {
 public:
  RemoteRegion() = default;

  uint64_t length() const { return length_; }  // bytes
  RemoteAccess access() const { return access_; }

  // Versioned, self-describing bytes, at most kSerializedBytesMax long.
  std::string Serialize() const;
  // kInvalidArgument, naming the field, when the bytes are not a region of this version.
  static absl::StatusOr<RemoteRegion> Parse(absl::string_view bytes);

  static constexpr size_t kSerializedBytesMax = 128;

 private:
  friend class Region;
  friend class Session;

  uint64_t key_ = 0;
  uint64_t length_ = 0;
  uint64_t window_[3] = {0, 0, 0};  // where RDMA devices find it; zero without
  RemoteAccess access_ = RemoteAccess::kReadWrite;
};

class MCP_EXPORT Region {
 public:
  Region() = default;
  explicit Region(internal::RegionImpl* adopted) : impl_(adopted) {}
  Region(Region&& other) noexcept;
  Region& operator=(Region&& other) noexcept;
  ~Region();

  bool valid() const { return impl_ != nullptr; }
  std::byte* data() const;
  uint64_t size() const;  // bytes

  // The whole region, or a part of it. A slice that leaves the region is refused by the operation that gets it.
  Slice All() const;
  Slice Part(uint64_t offset, uint64_t length) const;

  // Lets peers reach the memory. Each call makes a new key; all keys of a region are revoked with it.
  // kResourceExhausted when the engine's table of exported keys is full.
  absl::StatusOr<RemoteRegion> Export(RemoteAccess access = RemoteAccess::kReadWrite) const;

  // Takes back every key made by Export. Returns when no peer can touch the memory any more. Idempotent.
  void Revoke();

 private:
  internal::RegionImpl* impl_ = nullptr;
};

}  // namespace mcp

#endif  // MCP_REGION_H_
