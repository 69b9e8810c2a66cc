// What the transport wants of the kernel: sockets' operations, given in batches and completed in batches. Two kinds:
// io_uring, and epoll for where io_uring is refused.
//
// A socket has at most one receive (a stream or a gather), one send and one wait for readiness under way. Each of them
// completes exactly once, also when it is cancelled, except streams, which complete for every piece and end with one
// completion that has `more` false. Until then the memory that it was given may be touched.
//
// Thread rule: one lane, except Wake. Sockets may be added and operations started before the lane's thread is known;
// the first Run or Wait binds the reactor to its thread.
// Lifetime: file descriptors stay the caller's, open until Remove. The destructor ends what is under way.
#ifndef MCP_TRANSPORTS_TCP_REACTOR_H_
#define MCP_TRANSPORTS_TCP_REACTOR_H_

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mcp::internal {

using SocketId = uint32_t;

enum class IoOperation : uint8_t {
  kReceive,  // a stream's piece, or a gather
  kSend,
  kReady,     // the socket became readable or writable, as asked; result is 0 or an error
  kReleased,  // of a zero-copy send: the kernel has let go of its memory; result is 1 if it was copied after all
};

struct OperationResult {
  SocketId socket = 0;
  IoOperation operation = IoOperation::kReceive;
  bool more = false;    // of a stream: it goes on. Of a send: kReleased will follow
  uint16_t buffer = 0;  // of a stream, result > 0: where the bytes are; give it back with ReturnBuffer
  int32_t result = 0;   // bytes, 0 for the end of the stream, or a negative errno
};

// The lane's receive buffers: enough for the kernel to be ahead while the lane works, few enough to stay in L2. Smaller
// ones cost more rounds in the kernel (4 KiB messages: a fifth slower with 16 KiB), larger ones gained nothing.
inline constexpr uint32_t kReceiveBufferBytes = 64 * 1024;
inline constexpr uint32_t kReceiveBuffers = 16;  // a power of two
// What the polled reactor adds, numbered behind those.
inline constexpr uint32_t kPolledBuffers = 8;

// Results that one Run gives at most.
inline constexpr size_t kResultsPerRun = 256;

class Reactor {
 public:
  virtual ~Reactor() = default;

  virtual absl::StatusOr<SocketId> Add(int fd) = 0;
  // Nothing may be under way.
  virtual void Remove(SocketId socket) = 0;

  // Bytes as they come, in receive buffers, until the end, an error, or Cancel.
  virtual void StartStream(SocketId socket) = 0;
  // Fills the gather list, or less at the end, on an error, or on Cancel; the epoll reactor may give less at any time.
  virtual void Receive(SocketId socket, msghdr* message) = 0;
  // Sends the whole gather list, or less as above.
  virtual void Send(SocketId socket, msghdr* message) = 0;
  // As Send, by reference to the memory where the path allows; one kReleased follows if the result has `more`.
  // False: this reactor cannot.
  virtual bool SendZeroCopy(SocketId socket, msghdr* message) = 0;
  // `events`: POLLIN or POLLOUT.
  virtual void AwaitReady(SocketId socket, short events) = 0;
  // Ends what is under way of that operation early; its completion still follows. No-op if there is none.
  virtual void Cancel(SocketId socket, IoOperation operation) = 0;

  virtual const std::byte* buffer(uint16_t index) const = 0;
  virtual void ReturnBuffer(uint16_t index) = 0;

  // Hands everything to the kernel and gives what has completed. At most one system call on io_uring, and none when
  // there is nothing to hand over and nothing to collect.
  virtual size_t Run(absl::Span<OperationResult> results) = 0;
  // Blocks until Run would give something, a Wake, or the timeout (negative: none) has passed.
  virtual void Wait(int64_t timeout_ns) = 0;
  // Any thread. Ends the present Wait or the next.
  virtual void Wake() = 0;
};

// Null and the reason when the kernel refuses. `sockets_max` bounds what can be added.
absl::StatusOr<std::unique_ptr<Reactor>> MakeUringReactor(uint32_t sockets_max);
absl::StatusOr<std::unique_ptr<Reactor>> MakeEpollReactor(uint32_t sockets_max);
// Makes small work on a few connections at once, in place of handing it to `inner` (polled_reactor.cc).
std::unique_ptr<Reactor> MakePolledReactor(std::unique_ptr<Reactor> inner);

// Does what the transport does, once, on a socket pair. Not OK: why io_uring cannot be used here.
absl::Status ProbeUring();

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_REACTOR_H_
