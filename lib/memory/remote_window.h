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

namespace mcp::internal {

// Devices that one engine uses at once.
inline constexpr size_t kDevicesMax = 4;

struct RemoteWindow {
  uint64_t address = 0;  // of the window's first byte, as the device that is written to knows it
  std::array<uint32_t, kDevicesMax> rkeys{};

  RemoteWindow At(uint64_t offset) const {
    RemoteWindow moved = *this;
    moved.address += offset;
    return moved;
  }
};

// As three 64-bit words: how frames and exported regions carry it.
inline constexpr size_t kRemoteWindowWords = 3;

inline void StoreWindow(const RemoteWindow& window, uint64_t* words) {
  static_assert(kDevicesMax == 4 && kRemoteWindowWords == 3);
  words[0] = window.address;
  words[1] = uint64_t{window.rkeys[1]} << 32 | window.rkeys[0];
  words[2] = uint64_t{window.rkeys[3]} << 32 | window.rkeys[2];
}

// Written in place: the callers are about to read it, in other widths than a copy would have.
inline void LoadWindow(const uint64_t* words, RemoteWindow* window) {
  window->address = words[0];
  window->rkeys[0] = static_cast<uint32_t>(words[1]);
  window->rkeys[1] = static_cast<uint32_t>(words[1] >> 32);
  window->rkeys[2] = static_cast<uint32_t>(words[2]);
  window->rkeys[3] = static_cast<uint32_t>(words[2] >> 32);
}

inline RemoteWindow LoadWindow(const uint64_t* words) {
  RemoteWindow window;
  LoadWindow(words, &window);
  return window;
}

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
  };

  virtual ~DeviceMemory() = default;

  // For the engine's own operations: peers reach parts of it for as long as an operation wants them to. Repeated and
  // overlapping registrations are cheap.
  virtual absl::StatusOr<std::unique_ptr<Grant>> Register(const DeviceRange& range) = 0;
  // For peers: exactly this range, with exactly these rights (kAccess*), until the grant goes.
  virtual absl::StatusOr<std::unique_ptr<Grant>> Export(const DeviceRange& range, uint32_t access) = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_MEMORY_REMOTE_WINDOW_H_
