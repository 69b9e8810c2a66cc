// The loopback transport of one lane. Sources: device.cc (listen, connect, accept, close), post.cc, poll.cc.
//
// Budget: one copy of every byte, made by the receiving lane straight from the lender's memory to where it belongs; no
// allocation, lock or system call between Post and the peer's Poll once a connection stands.
#ifndef MCP_TRANSPORTS_LOOPBACK_DEVICE_H_
#define MCP_TRANSPORTS_LOOPBACK_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/base/clock.h"
#include "lib/memory/region_table.h"
#include "lib/transport/transport.h"
#include "transports/loopback/connection.h"
#include "transports/loopback/loopback_network.h"
#include "transports/loopback/mailbox.h"

namespace mcp::internal {

class LoopbackTransport : public Transport {
 public:
  // `name` is this side's address in descriptions.
  LoopbackTransport(std::shared_ptr<LoopbackNetwork> network, std::string name, Clock* clock, RegionTable* regions);
  ~LoopbackTransport() override;

  const TransportInfo& info() const override { return info_; }
  absl::StatusOr<std::string> Listen(absl::string_view address) override;
  void StopListening(absl::string_view bound_address) override;
  absl::StatusOr<ConnectionId> Connect(absl::string_view address, uint32_t path, absl::Span<const std::byte> hello,
                                       void* context, int64_t deadline_ns) override;
  absl::StatusOr<ConnectionId> Accept(std::unique_ptr<PendingConnection> pending,
                                      absl::Span<const std::byte> reply_hello, void* context) override;
  size_t Post(absl::Span<const WorkRequest> batch) override;
  size_t Poll(absl::Span<Event> events) override;
  void Wait(int64_t deadline_ns) override;
  void Wake() override { mailbox_->Wake(); }
  void Close(ConnectionId connection, absl::Status reason) override;
  ConnectionDescription Describe(ConnectionId connection) const override;
  PathStatistics Statistics(ConnectionId) const override { return {}; }
  uint64_t MemoryBytes(ConnectionId connection) const override;

 private:
  // Parcels of one end that a Poll takes before it turns to the next end.
  static constexpr int kParcelsPerTurn = 32;
  // Message bytes that one Poll can hold.
  static constexpr size_t kArenaBytes = 256 << 10;

  // Where a Poll's events go.
  struct Sink {
    absl::Span<Event> events;
    size_t used = 0;
    bool full() const { return used == events.size(); }
    Event* Next() {
      Event* event = &events[used++];
      *event = Event();
      return event;
    }
  };
  enum class Turn : uint8_t {
    kIdle,  // nothing more until somebody schedules the end
    kMore,  // look again as soon as there is room for events
    kLater  // look again at the next Poll
  };

  absl::StatusOr<LoopbackEnd*> Attach(std::shared_ptr<LoopbackLink> link, int side, void* context);
  void Detach(LoopbackEnd* end);
  void Release(LoopbackEnd* end);  // of a dead end that no list names
  LoopbackEnd* Find(ConnectionId id) const { return id < ends_.size() ? ends_[id] : nullptr; }
  void Abandon(LoopbackEnd* end, absl::string_view message);  // tells the peer
  void Fill(LoopbackEnd* end, const WorkRequest& work, LoopbackParcel* parcel);

  void Requeue(LoopbackEnd* end);
  void LookLater(LoopbackEnd* end);
  void ExpireConnects();
  void EmitIncoming(Sink* sink);
  void EmitClosed(LoopbackEnd* end, absl::Status reason, Sink* sink);
  Turn Serve(LoopbackEnd* end, Sink* sink);
  bool FinishConnecting(LoopbackEnd* end, Sink* sink);
  bool ReportSent(LoopbackEnd* end, Sink* sink);
  Turn Receive(LoopbackEnd* end, Sink* sink);
  void Deliver(LoopbackEnd* end, const LoopbackParcel& parcel, Sink* sink);
  void Place(LoopbackEnd* end, const LoopbackParcel& parcel, Event* event);
  bool ArenaHolds(uint64_t bytes) const { return bytes <= arena_.size() - arena_used_; }
  std::byte* CopyToArena(const std::byte* bytes, uint64_t count);
  absl::Status ReasonOfPeer(LoopbackEnd* end);

  const std::shared_ptr<LoopbackNetwork> network_;
  const LoopbackOptions& options_;
  const std::string name_;
  Clock* const clock_;
  RegionTable* const regions_;
  const std::shared_ptr<LoopbackMailbox> mailbox_ = std::make_shared<LoopbackMailbox>();
  TransportInfo info_;

  std::vector<LoopbackEnd*> ends_;  // by ConnectionId; null when free
  std::vector<ConnectionId> free_ids_;
  size_t dead_ = 0;  // ends that a list still names
  LoopbackReadyList ready_;
  std::vector<LoopbackEnd*> later_;
  std::vector<ConnectionId> connecting_;
  std::vector<std::byte> arena_;
  size_t arena_used_ = 0;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_LOOPBACK_DEVICE_H_
