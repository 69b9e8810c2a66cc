// Budget of a round: at most one io_uring_enter, which submits, runs the kernel's deferred work and collects; none when
// the submission queue is empty and the kernel has not raised IORING_SQ_TASKRUN. Sockets are direct descriptors, so
// operations take no reference on the file. Receive buffers go back to the kernel through shared memory.
#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/errno_status.h"
#include "transports/tcp/reactor.h"
#include "transports/tcp/waker.h"

namespace mcp::internal {
namespace {

constexpr unsigned kSubmissionEntries = 1024;
constexpr unsigned kCompletionEntries = 8192;
constexpr uint16_t kBufferGroup = 1;
constexpr uint32_t kDirectDescriptorsMax = 16384;

// Of Linux 6.2, which the installed header may not know yet.
constexpr uint16_t kSendZcReportUsage = 1u << 3;    // IORING_SEND_ZC_REPORT_USAGE
constexpr uint32_t kNotifUsageZcCopied = 1u << 31;  // IORING_NOTIF_USAGE_ZC_COPIED

// user_data: socket in the low half, tag above.
enum Tag : uint64_t { kTagReceive, kTagSend, kTagReady, kTagWake, kTagIgnored };

uint64_t UserData(SocketId socket, Tag tag) { return socket | static_cast<uint64_t>(tag) << 32; }

// The reactor's flags, best first. Task work deferred to our own enter costs no interrupt and runs in a batch (6.1);
// cooperative task work is the next best (5.19).
constexpr unsigned kCommonFlags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
                                  IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
constexpr unsigned kFlagChoices[] = {
    kCommonFlags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    kCommonFlags | IORING_SETUP_COOP_TASKRUN,
};

class UringReactor final : public Reactor {
 public:
  explicit UringReactor(uint32_t sockets_max) : sockets_max_(sockets_max) {}
  ~UringReactor() override;

  absl::Status Initialize();

  absl::StatusOr<SocketId> Add(int fd) override;
  void Remove(SocketId socket) override;
  void StartStream(SocketId socket) override;
  void Receive(SocketId socket, msghdr* message) override;
  void Send(SocketId socket, msghdr* message) override;
  bool SendZeroCopy(SocketId socket, msghdr* message) override;
  void AwaitReady(SocketId socket, short events) override;
  void Cancel(SocketId socket, IoOperation operation) override;

  const std::byte* buffer(uint16_t index) const override { return buffers_ + size_t{index} * kReceiveBufferBytes; }
  void ReturnBuffer(uint16_t index) override;

  size_t Run(absl::Span<OperationResult> results) override;
  void Wait(int64_t timeout_ns) override;
  void Wake() override { waker_.Wake(); }

 private:
  struct Socket {
    int fd = -1;
    bool used = false;
    bool direct = false;     // the ring knows it by its index
    bool streaming = false;  // the stream's end has not been given yet
    bool stopping = false;   // the stream was cancelled
    bool starved = false;    // waits for buffers; nothing of it is in the kernel
    uint8_t under_way = 0;   // bits by Tag
    uint16_t releases = 0;   // kReleased still to come
  };

  absl::Status MapBuffers();
  void Enable();
  io_uring_sqe* NextEntry();
  io_uring_sqe* Prepare(SocketId socket, Tag tag);
  void ArmStream(SocketId socket);
  void ArmWake();
  void PublishBuffers();
  void FeedStarved();
  bool WorkPending() const;
  bool Collect(const io_uring_cqe& entry, OperationResult* result);
  bool CollectReceive(SocketId id, const io_uring_cqe& entry, OperationResult* result);
  void CancelAll();

  const uint32_t sockets_max_;
  io_uring ring_ = {};
  bool created_ = false;
  bool enabled_ = false;
  std::thread::id thread_;
  bool direct_descriptors_ = false;
  std::vector<Socket> sockets_;
  std::vector<SocketId> free_sockets_;
  std::vector<SocketId> starved_;
  uint32_t starved_cancelled_ = 0;
  io_uring_buf_ring* buffer_ring_ = nullptr;
  std::byte* buffers_ = nullptr;
  uint32_t buffers_returned_ = 0;           // not published to the kernel yet
  uint32_t buffers_out_ = kReceiveBuffers;  // not in the ring, nor about to be
  Waker waker_;
};

UringReactor::~UringReactor() {
  if (created_) {
    if (enabled_ && thread_ == std::this_thread::get_id()) CancelAll();
    io_uring_queue_exit(&ring_);
  }
  if (buffers_ != nullptr) munmap(buffers_, size_t{kReceiveBufferBytes} * kReceiveBuffers);
  if (buffer_ring_ != nullptr) munmap(buffer_ring_, sizeof(io_uring_buf) * kReceiveBuffers);
}

absl::Status UringReactor::Initialize() {
  if (!waker_.valid()) return ErrnoStatus(errno, "eventfd");
  int error = 0;
  for (const unsigned flags : kFlagChoices) {
    io_uring_params parameters = {};
    parameters.flags = flags;
    parameters.cq_entries = kCompletionEntries;
    error = -io_uring_queue_init_params(kSubmissionEntries, &ring_, &parameters);
    if (error == 0) {
      created_ = true;
      break;
    }
    if (error != EINVAL) break;
  }
  if (error != 0) return ErrnoStatus(error, "io_uring_setup");
  absl::Status status = MapBuffers();
  if (!status.ok()) return status;

  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const uint64_t wanted = std::min<uint64_t>({sockets_max_, limit.rlim_cur, kDirectDescriptorsMax});
  direct_descriptors_ = io_uring_register_files_sparse(&ring_, static_cast<unsigned>(wanted)) == 0;
  if (direct_descriptors_) sockets_.reserve(std::min<uint64_t>(wanted, 64));
  ArmWake();
  return absl::OkStatus();
}

absl::Status UringReactor::MapBuffers() {
  const auto map = [](size_t bytes) -> void* {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
  };
  buffer_ring_ = static_cast<io_uring_buf_ring*>(map(sizeof(io_uring_buf) * kReceiveBuffers));
  buffers_ = static_cast<std::byte*>(map(size_t{kReceiveBufferBytes} * kReceiveBuffers));
  if (buffer_ring_ == nullptr || buffers_ == nullptr) return ErrnoStatus(ENOMEM, "io_uring receive buffers: mmap");
  io_uring_buf_reg registration = {};
  registration.ring_addr = reinterpret_cast<uint64_t>(buffer_ring_);
  registration.ring_entries = kReceiveBuffers;
  registration.bgid = kBufferGroup;
  const int error = -io_uring_register_buf_ring(&ring_, &registration, 0);
  if (error != 0) return ErrnoStatus(error, "io_uring_register: IORING_REGISTER_PBUF_RING");
  io_uring_buf_ring_init(buffer_ring_);
  for (uint16_t i = 0; i < kReceiveBuffers; ++i) ReturnBuffer(i);
  return absl::OkStatus();
}

absl::StatusOr<SocketId> UringReactor::Add(int fd) {
  if (free_sockets_.empty()) {
    if (sockets_.size() == sockets_max_) {
      return absl::ResourceExhaustedError(absl::StrCat("tcp: a lane has its ", sockets_max_, " sockets"));
    }
    free_sockets_.push_back(static_cast<SocketId>(sockets_.size()));
    sockets_.emplace_back();
  }
  const SocketId id = free_sockets_.back();
  free_sockets_.pop_back();
  Socket& socket = sockets_[id];
  socket = Socket();
  socket.fd = fd;
  socket.used = true;
  socket.direct = direct_descriptors_ && io_uring_register_files_update(&ring_, id, &fd, 1) == 1;
  return id;
}

void UringReactor::Remove(SocketId id) {
  Socket& socket = sockets_[id];
  MCP_ASSERT(socket.used && socket.under_way == 0 && socket.releases == 0 && !socket.streaming);
  if (socket.direct) {
    const int none = -1;
    io_uring_register_files_update(&ring_, id, const_cast<int*>(&none), 1);
  }
  socket.used = false;
  free_sockets_.push_back(id);
}

void UringReactor::Enable() {
  thread_ = std::this_thread::get_id();
  enabled_ = true;
  // liburing 2.3 declares io_uring_enable_rings and forgets to export it.
  syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

io_uring_sqe* UringReactor::NextEntry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  while (entry == nullptr) {
    if (!enabled_) Enable();
    io_uring_submit(&ring_);
    entry = io_uring_get_sqe(&ring_);
  }
  return entry;
}

io_uring_sqe* UringReactor::Prepare(SocketId id, Tag tag) {
  Socket& socket = sockets_[id];
  MCP_ASSERT(socket.used && (socket.under_way & (1u << tag)) == 0);
  socket.under_way |= static_cast<uint8_t>(1u << tag);
  return NextEntry();
}

// What io_uring_prep_* leaves for us to say. They clear the entry, so this comes last.
void Finish(io_uring_sqe* entry, bool direct, uint64_t user_data) {
  if (direct) entry->flags |= IOSQE_FIXED_FILE;
  entry->user_data = user_data;
}

void UringReactor::ArmStream(SocketId id) {
  const Socket& socket = sockets_[id];
  io_uring_sqe* entry = Prepare(id, kTagReceive);
  io_uring_prep_recv_multishot(entry, socket.direct ? static_cast<int>(id) : socket.fd, nullptr, 0, 0);
  entry->flags |= IOSQE_BUFFER_SELECT;
  entry->buf_group = kBufferGroup;
  Finish(entry, socket.direct, UserData(id, kTagReceive));
}

void UringReactor::ArmWake() {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_poll_multishot(entry, waker_.fd(), POLLIN);
  entry->user_data = UserData(0, kTagWake);
}

void UringReactor::StartStream(SocketId id) {
  sockets_[id].streaming = true;
  sockets_[id].stopping = false;
  ArmStream(id);
}

void UringReactor::Receive(SocketId id, msghdr* message) {
  const Socket& socket = sockets_[id];
  io_uring_sqe* entry = Prepare(id, kTagReceive);
  const int fd = socket.direct ? static_cast<int>(id) : socket.fd;
  if (message->msg_iovlen == 1) {
    io_uring_prep_recv(entry, fd, message->msg_iov->iov_base, message->msg_iov->iov_len, MSG_WAITALL);
  } else {
    io_uring_prep_recvmsg(entry, fd, message, MSG_WAITALL);
  }
  Finish(entry, socket.direct, UserData(id, kTagReceive));
}

void UringReactor::Send(SocketId id, msghdr* message) {
  const Socket& socket = sockets_[id];
  io_uring_sqe* entry = Prepare(id, kTagSend);
  const int fd = socket.direct ? static_cast<int>(id) : socket.fd;
  constexpr int kFlags = MSG_NOSIGNAL | MSG_WAITALL;  // MSG_WAITALL: the kernel itself goes on after a short send
  if (message->msg_iovlen == 1) {
    io_uring_prep_send(entry, fd, message->msg_iov->iov_base, message->msg_iov->iov_len, kFlags);
  } else {
    io_uring_prep_sendmsg(entry, fd, message, kFlags);
  }
  Finish(entry, socket.direct, UserData(id, kTagSend));
}

bool UringReactor::SendZeroCopy(SocketId id, msghdr* message) {
  const Socket& socket = sockets_[id];
  io_uring_sqe* entry = Prepare(id, kTagSend);
  io_uring_prep_sendmsg(entry, socket.direct ? static_cast<int>(id) : socket.fd, message, MSG_NOSIGNAL | MSG_WAITALL);
  entry->opcode = IORING_OP_SENDMSG_ZC;
  entry->ioprio = kSendZcReportUsage;
  Finish(entry, socket.direct, UserData(id, kTagSend));
  return true;
}

void UringReactor::AwaitReady(SocketId id, short events) {
  const Socket& socket = sockets_[id];
  io_uring_sqe* entry = Prepare(id, kTagReady);
  io_uring_prep_poll_add(entry, socket.direct ? static_cast<int>(id) : socket.fd, static_cast<unsigned>(events));
  Finish(entry, socket.direct, UserData(id, kTagReady));
}

void UringReactor::Cancel(SocketId id, IoOperation operation) {
  Socket& socket = sockets_[id];
  const Tag tag = operation == IoOperation::kReceive ? kTagReceive
                  : operation == IoOperation::kSend  ? kTagSend
                                                     : kTagReady;
  if (operation == IoOperation::kReceive && socket.streaming && !socket.stopping) {
    socket.stopping = true;
    if (socket.starved) ++starved_cancelled_;
  }
  if ((socket.under_way & (1u << tag)) == 0) return;
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_cancel64(entry, UserData(id, tag), 0);
  entry->user_data = UserData(id, kTagIgnored);
}

void UringReactor::ReturnBuffer(uint16_t index) {
  io_uring_buf_ring_add(buffer_ring_, buffers_ + size_t{index} * kReceiveBufferBytes, kReceiveBufferBytes, index,
                        kReceiveBuffers - 1, static_cast<int>(buffers_returned_++));
  --buffers_out_;
}

void UringReactor::PublishBuffers() {
  if (buffers_returned_ != 0) io_uring_buf_ring_advance(buffer_ring_, static_cast<int>(buffers_returned_));
  buffers_returned_ = 0;
  // A stream may be found starved after the last buffer has come back: its news was already on the way.
  if (!starved_.empty() && buffers_out_ < kReceiveBuffers) FeedStarved();
}

// Streams that ran out of buffers, once there are some again.
void UringReactor::FeedStarved() {
  for (const SocketId id : starved_) {
    Socket& socket = sockets_[id];
    if (!socket.used || !socket.starved || socket.stopping) continue;
    socket.starved = false;
    ArmStream(id);
  }
  if (starved_cancelled_ == 0) starved_.clear();
}

bool UringReactor::WorkPending() const {
  return io_uring_sq_ready(&ring_) != 0 ||
         (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

size_t UringReactor::Run(absl::Span<OperationResult> results) {
  if (!enabled_) Enable();
  size_t count = 0;
  // A starved stream that was cancelled has nothing in the kernel that could complete.
  for (size_t i = 0; starved_cancelled_ > 0 && i < starved_.size(); ++i) {
    const SocketId id = starved_[i];
    Socket& socket = sockets_[id];
    if (!socket.used || !socket.starved || !socket.stopping || count == results.size()) continue;
    socket.starved = false;
    socket.streaming = false;
    --starved_cancelled_;
    results[count++] = {.socket = id, .operation = IoOperation::kReceive, .result = -ECANCELED};
  }
  PublishBuffers();
  if (WorkPending()) io_uring_submit_and_get_events(&ring_);

  unsigned head;
  unsigned seen = 0;
  io_uring_cqe* entry;
  io_uring_for_each_cqe(&ring_, head, entry) {
    if (count == results.size()) break;
    ++seen;
    if (Collect(*entry, &results[count])) ++count;
  }
  io_uring_cq_advance(&ring_, seen);
  return count;
}

bool UringReactor::CollectReceive(SocketId id, const io_uring_cqe& entry, OperationResult* result) {
  Socket& socket = sockets_[id];
  const bool more = (entry.flags & IORING_CQE_F_MORE) != 0;
  if (!more) socket.under_way &= static_cast<uint8_t>(~(1u << kTagReceive));
  *result = {.socket = id, .operation = IoOperation::kReceive, .result = entry.res};
  if (!socket.streaming) return true;
  if ((entry.flags & IORING_CQE_F_BUFFER) != 0) {
    result->buffer = static_cast<uint16_t>(entry.flags >> IORING_CQE_BUFFER_SHIFT);
    ++buffers_out_;
  }
  if (entry.res == -ENOBUFS && !socket.stopping) {
    socket.starved = true;
    starved_.push_back(id);
    return false;
  }
  if (entry.res == -ENOBUFS) result->result = -ECANCELED;
  result->more = entry.res > 0;
  if (entry.res <= 0) {
    socket.streaming = false;
  } else if (!more) {
    if (socket.stopping) {
      result->more = false;
      socket.streaming = false;
    } else {
      ArmStream(id);
    }
  }
  return true;
}

// False for what is nobody's business outside.
bool UringReactor::Collect(const io_uring_cqe& entry, OperationResult* result) {
  const SocketId id = static_cast<SocketId>(entry.user_data);
  switch (static_cast<Tag>(entry.user_data >> 32)) {
    case kTagReceive:
      return CollectReceive(id, entry, result);
    case kTagSend: {
      Socket& socket = sockets_[id];
      if ((entry.flags & IORING_CQE_F_NOTIF) != 0) {
        --socket.releases;
        const bool copied = (static_cast<uint32_t>(entry.res) & kNotifUsageZcCopied) != 0;
        *result = {.socket = id, .operation = IoOperation::kReleased, .result = copied ? 1 : 0};
        return true;
      }
      const bool more = (entry.flags & IORING_CQE_F_MORE) != 0;
      if (more) ++socket.releases;
      socket.under_way &= static_cast<uint8_t>(~(1u << kTagSend));
      *result = {.socket = id, .operation = IoOperation::kSend, .more = more, .result = entry.res};
      return true;
    }
    case kTagReady:
      sockets_[id].under_way &= static_cast<uint8_t>(~(1u << kTagReady));
      *result = {.socket = id, .operation = IoOperation::kReady, .result = std::min(entry.res, 0)};
      return true;
    case kTagWake:
      waker_.Drain();
      if ((entry.flags & IORING_CQE_F_MORE) == 0) ArmWake();
      return false;
    case kTagIgnored:
      return false;
  }
  return false;
}

void UringReactor::Wait(int64_t timeout_ns) {
  if (!enabled_) Enable();
  PublishBuffers();
  if (!waker_.BeginWait()) return;
  if (io_uring_cq_ready(&ring_) == 0 && starved_cancelled_ == 0) {
    io_uring_cqe* entry = nullptr;
    if (timeout_ns < 0) {
      io_uring_submit_and_wait(&ring_, 1);
    } else {
      __kernel_timespec timeout = {.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
      io_uring_submit_and_wait_timeout(&ring_, &entry, 1, &timeout, nullptr);
    }
  }
  waker_.EndWait();
}

// The destructor's: nothing may touch anybody's memory afterwards.
void UringReactor::CancelAll() {
  for (SocketId id = 0; id < sockets_.size(); ++id) {
    if (!sockets_[id].used) continue;
    shutdown(sockets_[id].fd, SHUT_RDWR);
    for (const IoOperation operation : {IoOperation::kReceive, IoOperation::kSend, IoOperation::kReady})
      Cancel(id, operation);
  }
  const auto busy = [this] {
    return std::any_of(sockets_.begin(), sockets_.end(), [](const Socket& socket) {
      return socket.used && (socket.under_way != 0 || socket.releases != 0);
    });
  };
  constexpr int kRoundsMax = 1000;
  OperationResult results[kResultsPerRun];
  for (int round = 0; round < kRoundsMax && busy(); ++round) {
    if (Run(results) == 0 && busy()) Wait(1'000'000);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Reactor>> MakeUringReactor(uint32_t sockets_max) {
  auto reactor = std::make_unique<UringReactor>(sockets_max);
  absl::Status status = reactor->Initialize();
  if (!status.ok()) return status;
  return reactor;
}

}  // namespace mcp::internal
