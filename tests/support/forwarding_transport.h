// A transport that hands everything on to another one: a base for those that do something at one of its calls.
#ifndef MCP_TESTS_SUPPORT_FORWARDING_TRANSPORT_H_
#define MCP_TESTS_SUPPORT_FORWARDING_TRANSPORT_H_

#include <memory>
#include <string>
#include <utility>

#include "lib/transport/transport.h"

namespace mcp::internal {

class ForwardingTransport : public Transport {
 public:
  explicit ForwardingTransport(std::unique_ptr<Transport> inner) : inner_(std::move(inner)) {}

  const TransportInfo& info() const override { return inner_->info(); }
  absl::StatusOr<std::string> Listen(absl::string_view address) override { return inner_->Listen(address); }
  void StopListening(absl::string_view address) override { inner_->StopListening(address); }
  absl::StatusOr<ConnectionId> Connect(absl::string_view address, uint32_t path, absl::Span<const std::byte> hello,
                                       void* context, int64_t deadline_ns) override {
    return inner_->Connect(address, path, hello, context, deadline_ns);
  }
  absl::StatusOr<ConnectionId> Accept(std::unique_ptr<PendingConnection> pending,
                                      absl::Span<const std::byte> reply_hello, void* context) override {
    return inner_->Accept(std::move(pending), reply_hello, context);
  }
  size_t Post(absl::Span<const WorkRequest> batch) override { return inner_->Post(batch); }
  size_t Poll(absl::Span<Event> events) override { return inner_->Poll(events); }
  void Wait(int64_t deadline_ns) override { inner_->Wait(deadline_ns); }
  void Wake() override { inner_->Wake(); }
  void Close(ConnectionId connection, absl::Status reason) override { inner_->Close(connection, std::move(reason)); }
  PeerWindows* windows() override { return inner_->windows(); }
  ConnectionDescription Describe(ConnectionId connection) const override { return inner_->Describe(connection); }
  NodeDistances Distances(ConnectionId connection) const override { return inner_->Distances(connection); }
  PathStatistics Statistics(ConnectionId connection) const override { return inner_->Statistics(connection); }
  uint64_t MemoryBytes(ConnectionId connection) const override { return inner_->MemoryBytes(connection); }

 private:
  const std::unique_ptr<Transport> inner_;
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_FORWARDING_TRANSPORT_H_
