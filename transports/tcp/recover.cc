// Endings. A connection is gone only when the kernel has given back everything that it was handed for it.
#include <sys/socket.h>

#include <utility>

#include "lib/base/assert.h"
#include "transports/tcp/device.h"

namespace mcp::internal {

void TcpTransport::Close(ConnectionId id, absl::Status reason) {
  MCP_ASSERT(id < connections_.size());
  Connection& connection = *connections_[id];
  if (connection.state != Connection::State::kOpen && connection.state != Connection::State::kConnecting) return;
  if (reason.ok()) reason = absl::CancelledError("tcp: closed");
  BeginClose(connection, std::move(reason));
}

void TcpTransport::BeginClose(Connection& connection, absl::Status reason) {
  if (connection.state == Connection::State::kClosing || connection.state == Connection::State::kClosed) return;
  if (connection.state == Connection::State::kConnecting) --connecting_;
  connection.state = Connection::State::kClosing;
  connection.end = std::move(reason);
  DropChunks(connection);
  for (ConnectionSocket* socket : {&connection.control, &connection.data}) {
    if (socket->receiving) reactor_->Cancel(socket->id, IoOperation::kReceive);
    if (socket->sending) reactor_->Cancel(socket->id, IoOperation::kSend);
    if (socket->awaiting) reactor_->Cancel(socket->id, IoOperation::kReady);
  }
  FinishCloseWhenIdle(connection);
}

void TcpTransport::FinishCloseWhenIdle(Connection& connection) {
  if (connection.state != Connection::State::kClosing) return;
  if (!connection.control.idle() || !connection.data.idle()) {
    // Zero-copy sends end when the socket lets go of them.
    if (connection.data.releases > 0) shutdown(connection.data.fd.get(), SHUT_RDWR);
    return;
  }
  SayGoodbye(connection);
  ReleaseResources(connection);
  connection.state = Connection::State::kClosed;
  closed_.push_back(connection.id);
}

// Best effort, and only where a frame may begin: what was staged, then why it ends.
void TcpTransport::SayGoodbye(Connection& connection) {
  if (!connection.control.added || connection.connecting != nullptr) return;
  const int fd = connection.control.fd.get();
  ControlSender& sender = connection.control_sender;
  if (sender.sending()) return;
  if (sender.staged()) {
    const msghdr* message = sender.Begin();
    const ssize_t sent = sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0 || !sender.Advance(static_cast<uint32_t>(sent))) return;
    sender.Finish(send_pools());
  }
  std::byte goodbye[kTcpGoodbyeBytesMax];
  const size_t bytes = EncodeTcpGoodbye(connection.end, goodbye);
  [[maybe_unused]] const ssize_t sent = send(fd, goodbye, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Sockets and pooled memory. Nothing may be under way, unless the reactor has ended.
void TcpTransport::ReleaseResources(Connection& connection) {
  DropChunks(connection);
  // Pages that were sent by reference leave with the socket, unsent.
  if (connection.data.fd.valid() && connection.send_mode != SendMode::kCopy) {
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(connection.data.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  }
  for (ConnectionSocket* socket : {&connection.control, &connection.data}) {
    if (socket->added && reactor_ != nullptr) RemoveSocket(socket->id);
    if (socket->fd.valid()) shutdown(socket->fd.get(), SHUT_WR);
    *socket = ConnectionSocket();
  }
  if (connection.pipe != nullptr) pipes_.Release(std::move(connection.pipe));
  connection.control_sender.Clear(send_pools());
  connection.data_sender.Clear(&data_queues_);
  for (HeldRecord* record = connection.held.expected(); record != nullptr; record = record->next_write) {
    if (record->pinned) regions_->Unpin(record->slot);
  }
  connection.held.Clear(&delivered_blocks_);
  if (connection.partial != nullptr) blocks_.Release(std::exchange(connection.partial, nullptr));
  if (connection.receive_batch != nullptr) receive_batches_.Release(std::exchange(connection.receive_batch, nullptr));
  connection.connecting.reset();
}

// What was received and not parsed. Events of this round may point into the buffers, so they go back with the next.
void TcpTransport::DropChunks(Connection& connection) {
  while (connection.first_chunk != kNoChunk) {
    delivered_buffers_.push_back(connection.first_chunk);
    connection.first_chunk = chunks_[connection.first_chunk].next;
  }
}

}  // namespace mcp::internal
