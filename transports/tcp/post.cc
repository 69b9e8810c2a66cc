// The sending side. Post stages; the next Poll or Wait sends what was staged since the last, in one operation a socket.
// Only where much is staged for a socket that has nothing under way, Post sends it: a peer should not be idle until a
// long round ends.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/errno_status.h"
#include "transports/tcp/device.h"
#include "transports/tcp/kernel_order.h"

namespace mcp::internal {
namespace {

// Payload that one round sends by reference on one connection before the others get their turn.
constexpr uint64_t kPumpBytesMax = 1024 * 1024;
// Frames and small payload that do not wait for the next round.
constexpr uint32_t kSendAtOnceBytes = 128 * 1024;
// SEND_ZC's second completion and page pinning cost more than copying less than this.
constexpr uint64_t kZeroCopyBytesMin = 32 * 1024;

bool IsOneOf(int error, std::initializer_list<int> errors) {
  return std::find(errors.begin(), errors.end(), error) != errors.end();
}

}  // namespace

size_t TcpTransport::Post(absl::Span<const WorkRequest> batch) {
  for (size_t i = 0; i < batch.size(); ++i) {
    const WorkRequest& work = batch[i];
    MCP_ASSERT(work.connection < connections_.size());
    Connection& connection = *connections_[work.connection];
    if (ABSL_PREDICT_FALSE(connection.state != Connection::State::kOpen)) continue;  // kClosed is on its way
    if (!PostOne(connection, work)) return i;
  }
  return batch.size();
}

bool TcpTransport::PostOne(Connection& connection, const WorkRequest& work) {
  const bool write = work.kind == WorkRequest::Kind::kWrite;
  if (ABSL_PREDICT_FALSE(work.header_bytes > kHeaderBytesMax ||
                         work.payload_bytes > (write ? kTcpWriteBytesMax : kTcpMessageBytesMax - work.header_bytes))) {
    BeginClose(connection, absl::InternalError(absl::StrCat("tcp: work request with a header of ", work.header_bytes,
                                                            " bytes and payload of ", work.payload_bytes)));
    return true;
  }
  if (write && connection.data_sender.full()) return false;
  if (!connection.control_sender.Append(send_pools(), work)) return false;
  const bool lent = write ? work.payload_bytes > 0 : work.payload_bytes > kCopyBytesMax;
  if (write && lent) {
    connection.data_sender.Append(
        &data_queues_, {const_cast<std::byte*>(work.payload), work.payload_bytes, work.work_id, work.signaled});
  }
  if (work.signaled && !lent) sent_.push_back({connection.id, work.work_id});
  MarkDirty(connection);
  if (!connection.control.sending && connection.control_sender.staged_bytes() >= kSendAtOnceBytes) {
    SendAtOnce(connection);
  }
  return true;
}

void TcpTransport::SendAtOnce(Connection& connection) {
  BeforeSend(connection);
  connection.control.sending = true;
  msghdr* const message = connection.control_sender.Begin();
  const ssize_t sent = sendmsg(connection.control.fd.get(), message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return reactor_->Send(connection.control.id, message);
  HandleControlSent(connection, {.socket = connection.control.id,
                                 .operation = IoOperation::kSend,
                                 .result = sent < 0 ? -errno : static_cast<int>(sent)});
}

void TcpTransport::MarkDirty(Connection& connection) {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty_.push_back(connection.id);
}

void TcpTransport::FlushDirty() {
  flushing_.swap(dirty_);
  for (const ConnectionId id : flushing_) {
    Connection& connection = *connections_[id];
    if (!connection.dirty) continue;
    connection.dirty = false;
    if (connection.state != Connection::State::kOpen) continue;
    FlushControl(connection);
    FlushData(connection);
  }
  flushing_.clear();
}

void TcpTransport::FlushControl(Connection& connection) {
  if (connection.control.sending || !connection.control_sender.staged()) return;
  BeforeSend(connection);
  connection.control.sending = true;
  reactor_->Send(connection.control.id, connection.control_sender.Begin());
}

void TcpTransport::FlushData(Connection& connection) {
  if (connection.data.sending || connection.data.awaiting) return;
  BeforeSend(connection);
  if (connection.send_mode == SendMode::kPageReferences && PumpPages(connection)) return;
  if (connection.data_sender.empty() || connection.state != Connection::State::kOpen) return;
  connection.data.sending = true;
  if (connection.send_mode == SendMode::kZeroCopy && connection.data_sender.front().bytes >= kZeroCopyBytesMin &&
      !connection.data_sender.front().signaled) {
    msghdr* const message = connection.data_sender.Gather(kGatherBytesMax, /*unsignaled_only=*/true);
    if (reactor_->SendZeroCopy(connection.data.id, message)) return;
  }
  reactor_->Send(connection.data.id, connection.data_sender.Gather(kGatherBytesMax, /*unsignaled_only=*/false));
}

// True: nothing else is to be done on the data socket for now. False: what is at the front is to be copied.
bool TcpTransport::PumpPages(Connection& connection) {
  DataSender& sender = connection.data_sender;
  if (sender.empty() && connection.pipe == nullptr) return true;
  if (connection.pipe == nullptr) {
    if (sender.front().signaled) return false;
    std::string why;
    connection.pipe = pipes_.Acquire(&why);
    if (!why.empty()) network_->AddFallback("sending by page reference", "a copy by the kernel", why);
    if (connection.pipe == nullptr) return false;
  }
  PagePipe& pipe = *connection.pipe;
  const SigpipeHeld sigpipe;
  int64_t result = 0;
  for (uint64_t moved = 0; moved < kPumpBytesMax; moved += static_cast<uint64_t>(result)) {
    if (pipe.bytes() == 0) {
      if (sender.empty() || sender.front().signaled) {
        pipes_.Release(std::move(connection.pipe));
        return sender.empty();
      }
      result = pipe.Fill(*sender.Gather(pipe.capacity_bytes(), /*unsignaled_only=*/true));
      if (result <= 0) break;
      sender.Advance(&data_queues_, static_cast<uint64_t>(result), [](uint64_t) {});
    }
    result = pipe.Drain(connection.data.fd.get());
    if (result <= 0) break;
  }
  if (result == -EAGAIN) {
    connection.data.awaiting = true;
    reactor_->AwaitReady(connection.data.id, POLLOUT);
  } else if (result <= 0) {
    BeginClose(connection,
               ErrnoStatus(result == 0 ? EPIPE : static_cast<int>(-result), "tcp: send payload by reference"));
  } else {
    MarkDirty(connection);
  }
  return true;
}

void TcpTransport::HandleControlSent(Connection& connection, const OperationResult& result) {
  connection.control.sending = false;
  if (connection.state != Connection::State::kOpen) return FinishCloseWhenIdle(connection);
  if (result.result <= 0) {
    return BeginClose(connection, ErrnoStatus(result.result == 0 ? EPIPE : -result.result, "tcp: send"));
  }
  if (!connection.control_sender.Advance(static_cast<uint32_t>(result.result))) {
    connection.control.sending = true;
    return reactor_->Send(connection.control.id, connection.control_sender.message());
  }
  for (const uint64_t work_id : connection.control_sender.signaled()) sent_.push_back({connection.id, work_id});
  connection.control_sender.Finish(send_pools());
  FlushControl(connection);
}

void TcpTransport::HandleDataSent(Connection& connection, const OperationResult& result) {
  connection.data.sending = false;
  if (result.more) ++connection.data.releases;
  if (connection.state != Connection::State::kOpen) return FinishCloseWhenIdle(connection);
  if (result.result <= 0) {
    // The kernel has none, or may pin no more pages for this user.
    if (connection.send_mode == SendMode::kZeroCopy && IsOneOf(-result.result, {EINVAL, EOPNOTSUPP, ENOMEM, ENOBUFS})) {
      connection.send_mode = SendMode::kCopy;
      connection.notes.push_back(absl::StrCat("payload is copied by the kernel: SEND_ZC: ", ErrnoText(-result.result)));
      return FlushData(connection);
    }
    return BeginClose(connection, ErrnoStatus(result.result == 0 ? EPIPE : -result.result, "tcp: send payload"));
  }
  connection.data_sender.Advance(&data_queues_, static_cast<uint64_t>(result.result), [&](uint64_t work_id) {
    sent_.push_back({connection.id, work_id});
  });
  FlushData(connection);
}

void TcpTransport::HandleReleased(Connection& connection, const OperationResult& result) {
  --connection.data.releases;
  if (connection.state != Connection::State::kOpen) return FinishCloseWhenIdle(connection);
  if (result.result == 1 && connection.send_mode == SendMode::kZeroCopy) {
    connection.send_mode = SendMode::kCopy;
    connection.notes.push_back("payload is copied by the kernel: SEND_ZC reported that this path copies anyway");
  }
}

}  // namespace mcp::internal
