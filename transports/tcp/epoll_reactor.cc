// Where io_uring is refused. Sockets are registered once, edge-triggered; operations are tried when the socket is
// believed ready, and the belief ends with EAGAIN.
//
// Budget of a round: a system call for each operation that is tried, and one epoll_wait when none gave a result.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/errno_status.h"
#include "transports/tcp/reactor.h"
#include "transports/tcp/waker.h"

namespace mcp::internal {
namespace {

constexpr int kEpollEventsPerWait = 256;
// Rounds that give results without asking epoll for news, so that quiet sockets are heard beside a busy one.
constexpr uint32_t kRoundsWithoutPollMax = 8;
constexpr uint64_t kWakeData = ~uint64_t{0};

class EpollReactor final : public Reactor {
 public:
  explicit EpollReactor(uint32_t sockets_max) : sockets_max_(sockets_max) {}
  ~EpollReactor() override;

  absl::Status Initialize();

  absl::StatusOr<SocketId> Add(int fd) override;
  void Remove(SocketId socket) override;
  void StartStream(SocketId socket) override;
  void Receive(SocketId socket, msghdr* message) override;
  void Send(SocketId socket, msghdr* message) override;
  bool SendZeroCopy(SocketId, msghdr*) override { return false; }
  void AwaitReady(SocketId socket, short events) override;
  void Cancel(SocketId socket, IoOperation operation) override;

  const std::byte* buffer(uint16_t index) const override { return buffers_ + size_t{index} * kReceiveBufferBytes; }
  void ReturnBuffer(uint16_t index) override { free_buffers_.push_back(index); }

  size_t Run(absl::Span<OperationResult> results) override;
  void Wait(int64_t timeout_ns) override;
  void Wake() override { waker_.Wake(); }

 private:
  struct Socket {
    int fd = -1;
    bool used = false;
    bool readable = true;  // believed
    bool writable = true;
    bool queued = false;  // in active_
    bool streaming = false;
    bool receive_cancelled = false;
    bool send_cancelled = false;
    bool ready_cancelled = false;
    msghdr* receive = nullptr;
    msghdr* send = nullptr;
    short await = 0;
  };

  void Activate(SocketId id);
  void AskKernel(int timeout_ms);
  // They give a result, or nothing and forget the belief.
  bool TryReceive(SocketId id, OperationResult* result);
  bool TrySend(SocketId id, OperationResult* result);
  bool TryReady(SocketId id, OperationResult* result);
  bool Runnable(const Socket& socket) const;
  size_t Try(absl::Span<OperationResult> results);

  const uint32_t sockets_max_;
  Descriptor epoll_;
  std::vector<Socket> sockets_;
  std::vector<SocketId> free_sockets_;
  std::vector<SocketId> active_;  // may have something to try
  std::vector<SocketId> trying_;
  std::byte* buffers_ = nullptr;
  std::vector<uint16_t> free_buffers_;
  uint32_t rounds_without_poll_ = 0;
  Waker waker_;
};

EpollReactor::~EpollReactor() {
  if (buffers_ != nullptr) munmap(buffers_, size_t{kReceiveBufferBytes} * kReceiveBuffers);
}

absl::Status EpollReactor::Initialize() {
  if (!waker_.valid()) return ErrnoStatus(errno, "eventfd");
  epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return ErrnoStatus(errno, "epoll_create1");
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = kWakeData}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, waker_.fd(), &event) != 0) return ErrnoStatus(errno, "epoll_ctl");
  void* memory = mmap(nullptr, size_t{kReceiveBufferBytes} * kReceiveBuffers, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return ErrnoStatus(errno, "tcp receive buffers: mmap");
  buffers_ = static_cast<std::byte*>(memory);
  free_buffers_.reserve(kReceiveBuffers);
  for (uint16_t i = 0; i < kReceiveBuffers; ++i) free_buffers_.push_back(i);
  return absl::OkStatus();
}

absl::StatusOr<SocketId> EpollReactor::Add(int fd) {
  if (free_sockets_.empty()) {
    if (sockets_.size() == sockets_max_) {
      return absl::ResourceExhaustedError(absl::StrCat("tcp: a lane has its ", sockets_max_, " sockets"));
    }
    free_sockets_.push_back(static_cast<SocketId>(sockets_.size()));
    sockets_.emplace_back();
    active_.reserve(sockets_.size());
    trying_.reserve(sockets_.size());
  }
  const SocketId id = free_sockets_.back();
  epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = id}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus(errno, "tcp: epoll_ctl");
  free_sockets_.pop_back();
  const bool queued = sockets_[id].queued;
  sockets_[id] = Socket();
  sockets_[id].queued = queued;
  sockets_[id].fd = fd;
  sockets_[id].used = true;
  return id;
}

void EpollReactor::Remove(SocketId id) {
  Socket& socket = sockets_[id];
  MCP_ASSERT(socket.used && socket.receive == nullptr && socket.send == nullptr && !socket.streaming);
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket.fd, nullptr);
  socket.used = false;
  free_sockets_.push_back(id);
}

void EpollReactor::Activate(SocketId id) {
  if (sockets_[id].queued) return;
  sockets_[id].queued = true;
  active_.push_back(id);
}

void EpollReactor::StartStream(SocketId id) {
  sockets_[id].streaming = true;
  Activate(id);
}

void EpollReactor::Receive(SocketId id, msghdr* message) {
  sockets_[id].receive = message;
  Activate(id);
}

void EpollReactor::Send(SocketId id, msghdr* message) {
  sockets_[id].send = message;
  Activate(id);
}

void EpollReactor::AwaitReady(SocketId id, short events) {
  sockets_[id].await = events;
  Activate(id);
}

void EpollReactor::Cancel(SocketId id, IoOperation operation) {
  Socket& socket = sockets_[id];
  if (operation == IoOperation::kReceive && (socket.streaming || socket.receive != nullptr)) {
    socket.receive_cancelled = true;
  } else if (operation == IoOperation::kSend && socket.send != nullptr) {
    socket.send_cancelled = true;
  } else if (operation == IoOperation::kReady && socket.await != 0) {
    socket.ready_cancelled = true;
  }
  Activate(id);
}

bool EpollReactor::TryReceive(SocketId id, OperationResult* result) {
  Socket& socket = sockets_[id];
  if (!socket.streaming && socket.receive == nullptr) return false;
  *result = {.socket = id, .operation = IoOperation::kReceive};
  if (socket.receive_cancelled) {
    result->result = -ECANCELED;
  } else {
    if (!socket.readable || (socket.streaming && free_buffers_.empty())) return false;
    ssize_t bytes;
    if (socket.streaming) {
      result->buffer = free_buffers_.back();
      bytes = recv(socket.fd, buffers_ + size_t{result->buffer} * kReceiveBufferBytes, kReceiveBufferBytes, 0);
    } else {
      bytes = recvmsg(socket.fd, socket.receive, 0);
    }
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (errno == EAGAIN) socket.readable = false;
      return false;
    }
    result->result = bytes < 0 ? -errno : static_cast<int32_t>(bytes);
    if (socket.streaming && bytes > 0) {
      free_buffers_.pop_back();
      result->more = true;
      return true;
    }
  }
  socket.receive = nullptr;
  socket.streaming = false;
  socket.receive_cancelled = false;
  return true;
}

bool EpollReactor::TrySend(SocketId id, OperationResult* result) {
  Socket& socket = sockets_[id];
  if (socket.send == nullptr) return false;
  *result = {.socket = id, .operation = IoOperation::kSend};
  if (socket.send_cancelled) {
    result->result = -ECANCELED;
  } else {
    if (!socket.writable) return false;
    const ssize_t bytes = sendmsg(socket.fd, socket.send, MSG_NOSIGNAL);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (errno == EAGAIN) socket.writable = false;
      return false;
    }
    result->result = bytes < 0 ? -errno : static_cast<int32_t>(bytes);
  }
  socket.send = nullptr;
  socket.send_cancelled = false;
  return true;
}

// Asked of poll itself: an edge that came before the caller's own EAGAIN says nothing.
bool EpollReactor::TryReady(SocketId id, OperationResult* result) {
  Socket& socket = sockets_[id];
  if (socket.await == 0) return false;
  *result = {.socket = id, .operation = IoOperation::kReady};
  if (socket.ready_cancelled) {
    result->result = -ECANCELED;
  } else {
    const bool reading = (socket.await & POLLIN) != 0;
    bool& believed = reading ? socket.readable : socket.writable;
    if (!believed) return false;
    pollfd state = {.fd = socket.fd, .events = socket.await, .revents = 0};
    if (poll(&state, 1, 0) == 0) {
      believed = false;
      return false;
    }
  }
  socket.await = 0;
  socket.ready_cancelled = false;
  return true;
}

bool EpollReactor::Runnable(const Socket& socket) const {
  if (socket.receive_cancelled || socket.send_cancelled || socket.ready_cancelled) return true;
  if (socket.readable && (socket.streaming || socket.receive != nullptr)) return true;
  if (socket.writable && socket.send != nullptr) return true;
  return socket.await != 0 && ((socket.await & POLLIN) != 0 ? socket.readable : socket.writable);
}

size_t EpollReactor::Try(absl::Span<OperationResult> results) {
  size_t count = 0;
  trying_.swap(active_);
  for (const SocketId id : trying_) {
    sockets_[id].queued = false;
    if (!sockets_[id].used) continue;
    if (count + 3 <= results.size()) {
      if (TrySend(id, &results[count])) ++count;
      if (TryReady(id, &results[count])) ++count;
      if (TryReceive(id, &results[count])) ++count;
    }
    if (Runnable(sockets_[id])) Activate(id);
  }
  trying_.clear();
  return count;
}

void EpollReactor::AskKernel(int timeout_ms) {
  epoll_event events[kEpollEventsPerWait];
  const int count = epoll_wait(epoll_.get(), events, kEpollEventsPerWait, timeout_ms);
  for (int i = 0; i < count; ++i) {
    if (events[i].data.u64 == kWakeData) {
      waker_.Drain();
      continue;
    }
    const SocketId id = static_cast<SocketId>(events[i].data.u64);
    if ((events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) sockets_[id].readable = true;
    if ((events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) sockets_[id].writable = true;
    Activate(id);
  }
}

size_t EpollReactor::Run(absl::Span<OperationResult> results) {
  size_t count = Try(results);
  if (count > 0 && ++rounds_without_poll_ < kRoundsWithoutPollMax) return count;
  rounds_without_poll_ = 0;
  AskKernel(0);
  if (count == 0) count = Try(results);
  return count;
}

void EpollReactor::Wait(int64_t timeout_ns) {
  const bool runnable = std::any_of(active_.begin(), active_.end(),
                                    [this](SocketId id) { return sockets_[id].used && Runnable(sockets_[id]); });
  if (runnable || !waker_.BeginWait()) return;
  // Rounded up: a wait that ends early would spin through its last millisecond.
  constexpr int64_t kNsPerMs = 1'000'000;
  const int timeout_ms =
      timeout_ns < 0 ? -1 : static_cast<int>(std::min<int64_t>((timeout_ns + kNsPerMs - 1) / kNsPerMs, 1 << 30));
  AskKernel(timeout_ms);
  waker_.EndWait();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Reactor>> MakeEpollReactor(uint32_t sockets_max) {
  auto reactor = std::make_unique<EpollReactor>(sockets_max);
  absl::Status status = reactor->Initialize();
  if (!status.ok()) return status;
  return reactor;
}

}  // namespace mcp::internal
