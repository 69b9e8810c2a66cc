#include "transports/tcp/zero_copy.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/uio.h>
#include <time.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/errno_status.h"

namespace mcp::internal {
namespace {

constexpr int kPipeBytesWanted = 1024 * 1024;
// With less the two system calls cost more than the copy they save.
constexpr int kPipeBytesMin = 256 * 1024;

sigset_t SigpipeOnly() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  return set;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PagePipe>> PagePipe::Create() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return ErrnoStatus(errno, "pipe2");
  auto pipe = std::make_unique<PagePipe>();
  pipe->read_ = Descriptor(ends[0]);
  pipe->write_ = Descriptor(ends[1]);
  int size = -1;
  for (int wanted = kPipeBytesWanted; size < 0 && wanted >= kPipeBytesMin; wanted /= 2) {
    size = fcntl(ends[1], F_SETPIPE_SZ, wanted);
  }
  if (size < 0) {
    return ErrnoStatus(
        errno, absl::StrCat("F_SETPIPE_SZ ", kPipeBytesMin, " (see fs.pipe-max-size and fs.pipe-user-pages-soft)"));
  }
  pipe->capacity_bytes_ = static_cast<uint64_t>(size);
  return pipe;
}

int64_t PagePipe::Fill(const msghdr& message) {
  MCP_ASSERT(bytes_ == 0);
  const ssize_t taken = vmsplice(write_.get(), message.msg_iov, message.msg_iovlen, SPLICE_F_NONBLOCK);
  if (taken < 0) return -errno;
  bytes_ = static_cast<uint64_t>(taken);
  return taken;
}

int64_t PagePipe::Drain(int socket) {
  const ssize_t moved = splice(read_.get(), nullptr, socket, nullptr, bytes_, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (moved < 0) return -errno;
  bytes_ -= static_cast<uint64_t>(moved);
  return moved;
}

std::unique_ptr<PagePipe> PagePipePool::Acquire(std::string* why) {
  if (!free_.empty()) {
    std::unique_ptr<PagePipe> pipe = std::move(free_.back());
    free_.pop_back();
    ++in_use_;
    return pipe;
  }
  if (refused_ || in_use_ == kPipesMax) return nullptr;
  absl::StatusOr<std::unique_ptr<PagePipe>> pipe = PagePipe::Create();
  if (!pipe.ok()) {
    refused_ = true;
    *why = std::string(pipe.status().message());
    return nullptr;
  }
  ++in_use_;
  free_.reserve(kPipesMax);
  return *std::move(pipe);
}

void PagePipePool::Release(std::unique_ptr<PagePipe> pipe) {
  --in_use_;
  if (pipe->bytes() == 0) free_.push_back(std::move(pipe));
}

SigpipeHeld::SigpipeHeld() {
  const sigset_t sigpipe = SigpipeOnly();
  pthread_sigmask(SIG_BLOCK, &sigpipe, &before_);
}

SigpipeHeld::~SigpipeHeld() {
  // It may have been raised by a splice that moved something, too; one that was pending before would be blocked before.
  if (sigismember(&before_, SIGPIPE) == 0) {
    const sigset_t sigpipe = SigpipeOnly();
    const timespec at_once = {};
    while (sigtimedwait(&sigpipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace mcp::internal
