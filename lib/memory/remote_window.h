// What a peer's device needs to reach memory without this side's CPU, beside the memory's key: an address and, for each
// of this side's devices, the name under which that device knows the memory. A plain value; zero where the transport
// needs none.
#ifndef MCP_LIB_MEMORY_REMOTE_WINDOW_H_
#define MCP_LIB_MEMORY_REMOTE_WINDOW_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/memory/memory_node.h"

namespace mcp::internal {

// Devices that one engine uses at once.
inline constexpr size_t kDevicesMax = 4;

// As three 64-bit words: how frames and exported regions carry it.
inline constexpr size_t kRemoteWindowWords = 3;

class RemoteWindow {
 public:
  uint64_t address = 0;  // of the window's first byte, as the device that is written to knows it

  uint32_t rkey(size_t device) const { return static_cast<uint32_t>(rkeys_[device / 2] >> Shift(device)); }
  void set_rkey(size_t device, uint32_t rkey) {
    rkeys_[device / 2] &= ~(uint64_t{0xffffffff} << Shift(device));
    rkeys_[device / 2] |= uint64_t{rkey} << Shift(device);
  }

  RemoteWindow At(uint64_t offset) const {
    RemoteWindow moved = *this;
    moved.address += offset;
    return moved;
  }

  void Store(uint64_t* words) const {
    words[0] = address;
    words[1] = rkeys_[0];
    words[2] = rkeys_[1];
  }
  static RemoteWindow Load(const uint64_t* words) {
    RemoteWindow window;
    window.address = words[0];
    window.rkeys_ = {words[1], words[2]};
    return window;
  }

 private:
  static constexpr size_t Shift(size_t device) { return device % 2 * 32; }

  std::array<uint64_t, kRemoteWindowWords - 1> rkeys_{};  // two a word, the first in the low half
};
static_assert(kDevicesMax == 2 * (kRemoteWindowWords - 1));

// What devices are to know: memory of this process and, where it is that of a dma-buf, of which. The bytes are as the
// process names them in either case. The descriptor is lent for the call.
struct DeviceRange {
  DeviceRange(absl::Span<std::byte> range, int fd = -1, uint64_t offset = 0)
      : bytes(range), dmabuf_fd(fd), dmabuf_offset(offset) {}

  absl::Span<std::byte> bytes;
  int dmabuf_fd;  // -1: none
  uint64_t dmabuf_offset;
};

// Memory as the devices of a transport know it. Thread rule: any thread. Outlives the grants it made.
class DeviceMemory {
 public:
  // Memory that the devices may touch while this lives. Destroying it returns when they can no more, but for what they
  // have sent from it and might have to send again: they know it until that is confirmed.
  class Grant {
   public:
    virtual ~Grant() = default;
    virtual RemoteWindow window() const = 0;  // of the range's first byte
    // Of its range, as Export takes it while this lives.
    virtual DeviceRange Part(absl::Span<std::byte> range) const = 0;
    // That the memory was on when it was registered, where that makes a difference to the devices.
    virtual MemoryNode node() const { return kNoNode; }
  };

  virtual ~DeviceMemory() = default;

  // For the engine's own operations: peers reach parts of it for as long as an operation wants them to.
  virtual absl::StatusOr<std::unique_ptr<Grant>> Register(const DeviceRange& range) = 0;
  // For peers: exactly this range, with exactly these rights (kAccess*), until the grant goes.
  virtual absl::StatusOr<std::unique_ptr<Grant>> Export(const DeviceRange& range, uint32_t access) = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_REMOTE_WINDOW_H_
