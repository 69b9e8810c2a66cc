// For a lane whose caller polls it: small sends and the first few streams are system calls of their own, made at once.
// A ring pays its way in batches; for one message at a time its submission, wake-up and deferred work cost more than
// the call that they replace. Only while the caller waits does the ring watch for it.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "lib/base/assert.h"
#include "transports/tcp/reactor.h"

namespace mcp::internal {
namespace {

// Each costs a system call a round, so the streams of a lane with many connections are left to the ring.
constexpr size_t kPolledStreamsMax = 2;

// Whole pages: the kernel's copy of 4 KiB took a microsecond longer to where an allocator's header had moved them by
// 16 bytes (AMD EPYC, rep movsb).
struct alignas(4096) ReceiveBuffer {
  std::byte bytes[kReceiveBufferBytes];
};

class PolledReactor final : public Reactor {
 public:
  explicit PolledReactor(std::unique_ptr<Reactor> inner)
      : inner_(std::move(inner)), buffers_(new ReceiveBuffer[kPolledBuffers]) {
    for (uint16_t i = kPolledBuffers; i > 0; --i)
      free_buffers_.push_back(static_cast<uint16_t>(kReceiveBuffers + i - 1));
  }

  absl::StatusOr<SocketId> Add(int fd) override;
  void Remove(SocketId socket) override;
  void StartStream(SocketId socket) override;
  void Receive(SocketId socket, msghdr* message) override { inner_->Receive(socket, message); }
  void Send(SocketId socket, msghdr* message) override;
  bool SendZeroCopy(SocketId socket, msghdr* message) override { return inner_->SendZeroCopy(socket, message); }
  void AwaitReady(SocketId socket, short events) override { inner_->AwaitReady(socket, events); }
  void Cancel(SocketId socket, IoOperation operation) override;

  const std::byte* buffer(uint16_t index) const override {
    return index < kReceiveBuffers ? inner_->buffer(index) : buffers_[index - kReceiveBuffers].bytes;
  }
  void ReturnBuffer(uint16_t index) override;

  size_t Run(absl::Span<OperationResult> results) override;
  void Wait(int64_t timeout_ns) override;
  void Wake() override { inner_->Wake(); }

 private:
  // The end of a stream is given once nothing watches the socket any more.
  struct Stream {
    SocketId socket = 0;
    bool watched = false;  // by the inner reactor, for the sake of a Wait
    bool ended = false;
    int32_t end = 0;  // 0 or a negative errno
  };

  Stream* FindStream(SocketId socket);
  bool PollStream(Stream* stream, OperationResult* result);
  bool EndStream(Stream* stream, OperationResult* result);

  const std::unique_ptr<Reactor> inner_;
  const std::unique_ptr<ReceiveBuffer[]> buffers_;
  std::vector<uint16_t> free_buffers_;
  std::vector<int> descriptors_;  // by socket
  std::vector<Stream> streams_;
  std::vector<OperationResult> sent_;
};

absl::StatusOr<SocketId> PolledReactor::Add(int fd) {
  absl::StatusOr<SocketId> id = inner_->Add(fd);
  if (!id.ok()) return id;
  if (descriptors_.size() <= *id) descriptors_.resize(*id + 1, -1);
  descriptors_[*id] = fd;
  return id;
}

void PolledReactor::Remove(SocketId socket) {
  MCP_ASSERT(FindStream(socket) == nullptr);
  inner_->Remove(socket);
}

PolledReactor::Stream* PolledReactor::FindStream(SocketId socket) {
  const auto found = std::find_if(streams_.begin(), streams_.end(),
                                  [socket](const Stream& stream) { return stream.socket == socket; });
  return found == streams_.end() ? nullptr : &*found;
}

void PolledReactor::StartStream(SocketId socket) {
  if (streams_.size() == kPolledStreamsMax) return inner_->StartStream(socket);
  streams_.push_back({.socket = socket});
}

// What the socket does not take at once is the ring's to wait for.
void PolledReactor::Send(SocketId socket, msghdr* message) {
  const ssize_t bytes = sendmsg(descriptors_[socket], message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return inner_->Send(socket, message);
  sent_.push_back(
      {.socket = socket, .operation = IoOperation::kSend, .result = bytes < 0 ? -errno : static_cast<int32_t>(bytes)});
}

void PolledReactor::Cancel(SocketId socket, IoOperation operation) {
  Stream* const stream = operation == IoOperation::kReceive ? FindStream(socket) : nullptr;
  if (stream == nullptr) return inner_->Cancel(socket, operation);
  if (stream->ended) return;
  stream->ended = true;
  stream->end = -ECANCELED;
}

void PolledReactor::ReturnBuffer(uint16_t index) {
  if (index < kReceiveBuffers) return inner_->ReturnBuffer(index);
  free_buffers_.push_back(index);
}

bool PolledReactor::PollStream(Stream* stream, OperationResult* result) {
  if (stream->ended) return EndStream(stream, result);
  if (free_buffers_.empty()) return false;
  const uint16_t buffer = free_buffers_.back();
  const ssize_t bytes = recv(descriptors_[stream->socket], const_cast<std::byte*>(this->buffer(buffer)),
                             kReceiveBufferBytes, MSG_DONTWAIT);
  if (bytes > 0) {
    free_buffers_.pop_back();
    *result = {.socket = stream->socket,
               .operation = IoOperation::kReceive,
               .more = true,
               .buffer = buffer,
               .result = static_cast<int32_t>(bytes)};
    return true;
  }
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  stream->ended = true;
  stream->end = bytes < 0 ? -errno : 0;
  return EndStream(stream, result);
}

bool PolledReactor::EndStream(Stream* stream, OperationResult* result) {
  if (stream->watched) {
    inner_->Cancel(stream->socket, IoOperation::kReady);
    return false;
  }
  *result = {.socket = stream->socket, .operation = IoOperation::kReceive, .result = stream->end};
  *stream = streams_.back();
  streams_.pop_back();
  return true;
}

size_t PolledReactor::Run(absl::Span<OperationResult> results) {
  const size_t sent = std::min(sent_.size(), results.size());
  std::copy_n(sent_.begin(), sent, results.begin());
  sent_.erase(sent_.begin(), sent_.begin() + static_cast<ptrdiff_t>(sent));
  size_t count = sent;
  // From the back: a stream that ends is replaced by the last, which has had its turn.
  for (size_t i = streams_.size(); i > 0 && count < results.size(); --i) {
    if (PollStream(&streams_[i - 1], &results[count])) ++count;
  }
  const size_t inner = inner_->Run(results.subspan(count));
  const size_t end = count + inner;
  for (size_t i = count; i < end; ++i) {
    Stream* const stream = results[i].operation == IoOperation::kReady ? FindStream(results[i].socket) : nullptr;
    if (stream != nullptr && stream->watched) {
      stream->watched = false;
    } else {
      results[count++] = results[i];
    }
  }
  return count;
}

void PolledReactor::Wait(int64_t timeout_ns) {
  if (!sent_.empty()) return;
  for (Stream& stream : streams_) {
    if (stream.ended && !stream.watched) return;
    if (!stream.watched) inner_->AwaitReady(stream.socket, POLLIN);
    stream.watched = true;
  }
  inner_->Wait(timeout_ns);
}

}  // namespace

std::unique_ptr<Reactor> MakePolledReactor(std::unique_ptr<Reactor> inner) {
  return std::make_unique<PolledReactor>(std::move(inner));
}

}  // namespace mcp::internal
