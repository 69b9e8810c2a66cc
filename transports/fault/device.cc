#include "transports/fault/device.h"

#include <utility>

#include "transports/fault/fault_transport.h"

namespace mcp::internal {

std::unique_ptr<Transport> CreateFaultTransport(std::unique_ptr<Transport> inner, Clock* clock,
                                                std::shared_ptr<FaultLedger> ledger) {
  return std::make_unique<FaultTransport>(std::move(inner), clock, std::move(ledger));
}

FaultTransport::FaultTransport(std::unique_ptr<Transport> inner, Clock* clock, std::shared_ptr<FaultLedger> ledger)
    : clock_(clock),
      ledger_(std::move(ledger)),
      inert_(ledger_->plan().inert()),
      random_(ledger_->MakeRandom()),
      inner_(std::move(inner)) {}

absl::StatusOr<ConnectionId> FaultTransport::Connect(absl::string_view address, uint32_t path,
                                                     absl::Span<const std::byte> hello, void* context,
                                                     int64_t deadline_ns) {
  const std::vector<std::byte> sent = MaybeCorruptHello(hello);
  return Named(inner_->Connect(address, path, sent, context, deadline_ns), context);
}

absl::StatusOr<ConnectionId> FaultTransport::Accept(std::unique_ptr<PendingConnection> pending,
                                                    absl::Span<const std::byte> reply_hello, void* context) {
  const std::vector<std::byte> sent = MaybeCorruptHello(reply_hello);
  return Named(inner_->Accept(std::move(pending), sent, context), context);
}

absl::StatusOr<ConnectionId> FaultTransport::Named(absl::StatusOr<ConnectionId> connection, void* context) {
  if (connection.ok()) ChannelOf(*connection).context = context;
  return connection;
}

std::vector<std::byte> FaultTransport::MaybeCorruptHello(absl::Span<const std::byte> hello) {
  std::vector<std::byte> sent(hello.begin(), hello.end());
  if (inert_ || sent.empty()) return sent;
  if (random_.Unit() < ledger_->plan().rate(FaultKind::kCorruptHello) && ledger_->Take(FaultKind::kCorruptHello)) {
    Damage(&sent);
  }
  return sent;
}

void FaultTransport::Close(ConnectionId connection, absl::Status reason) {
  if (!inert_) Forget(connection);
  inner_->Close(connection, std::move(reason));
}

uint64_t FaultTransport::MemoryBytes(ConnectionId connection) const {
  const uint64_t held = connection < channels_.size() ? channels_[connection].held_bytes : 0;
  return inner_->MemoryBytes(connection) + held;
}

FaultTransport::Channel& FaultTransport::ChannelOf(ConnectionId connection) {
  while (channels_.size() <= connection) channels_.emplace_back();
  return channels_[connection];
}

// Drops what is held back. Copies that the inner transport still sends from stay until kClosed.
void FaultTransport::Forget(ConnectionId connection) {
  Channel& channel = ChannelOf(connection);
  held_ -= channel.line.size() + channel.aside.size();
  void* const context = channel.context;
  channel = Channel();
  channel.context = context;
}

}  // namespace mcp::internal
