// Sending by page reference: vmsplice puts the payload's pages into a pipe, splice moves them into the socket, and the
// peer's receive copies from them, so that between processes of one host payload is copied once in all. The pages are
// in use until the peer has received them, which only the peer's own confirmation tells.
//
// The pages are taken 4 KiB a pipe slot, 1 MiB a pipe. A pipe belongs to one connection while it holds anything.
//
// Thread rule: one lane.
#ifndef MCP_TRANSPORTS_TCP_ZERO_COPY_H_
#define MCP_TRANSPORTS_TCP_ZERO_COPY_H_

#include <signal.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "transports/tcp/descriptor.h"

namespace mcp::internal {

class PagePipe {
 public:
  static absl::StatusOr<std::unique_ptr<PagePipe>> Create();

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  uint64_t bytes() const { return bytes_; }

  // Takes pages of the list, as many as fit: bytes taken or a negative errno. The pipe must be empty.
  int64_t Fill(const msghdr& message);
  // Moves what it holds into the socket: bytes moved or a negative errno. SIGPIPE must be held off.
  int64_t Drain(int socket);

 private:
  Descriptor read_;
  Descriptor write_;
  uint64_t capacity_bytes_ = 0;
  uint64_t bytes_ = 0;
};

// Pipes of a lane. Bounded, since pipes' pages count against fs.pipe-user-pages-soft.
class PagePipePool {
 public:
  static constexpr uint32_t kPipesMax = 32;

  // Null when all are in use or the system gives none; then `why` says so, once the system has refused.
  std::unique_ptr<PagePipe> Acquire(std::string* why);
  // A pipe that still holds pages is closed, which lets go of them.
  void Release(std::unique_ptr<PagePipe> pipe);

 private:
  std::vector<std::unique_ptr<PagePipe>> free_;
  uint32_t in_use_ = 0;
  bool refused_ = false;
};

// splice into a socket whose peer is gone raises SIGPIPE, which nothing but the signal mask can prevent. While one of
// these lives the thread does not get it, and one that was raised meanwhile is taken away.
class SigpipeHeld {
 public:
  SigpipeHeld();
  ~SigpipeHeld();
  SigpipeHeld(const SigpipeHeld&) = delete;
  SigpipeHeld& operator=(const SigpipeHeld&) = delete;

 private:
  sigset_t before_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_ZERO_COPY_H_
