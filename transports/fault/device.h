// The fault transport's state. Sources: device.cc (life of connections), post.cc (faults), poll.cc (what is held back).
//
// Correct and plain before fast: it allocates and copies as it likes.
#ifndef MCP_TRANSPORTS_FAULT_DEVICE_H_
#define MCP_TRANSPORTS_FAULT_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/transport/transport.h"
#include "transports/fault/fault_plan.h"

namespace mcp::internal {

// A work request with bytes of its own.
struct OwnedWork {
  WorkRequest work;  // header and payload point into the vectors below, set when it is posted
  std::vector<std::byte> header;
  std::vector<std::byte> payload;
  int64_t release_ns = 0;   // not before
  uint32_t posts_left = 0;  // of a reordered message: later posts until it follows
};

class FaultTransport : public Transport {
 public:
  FaultTransport(std::unique_ptr<Transport> inner, Clock* clock, std::shared_ptr<FaultLedger> ledger);

  const TransportInfo& info() const override { return inner_->info(); }
  absl::StatusOr<std::string> Listen(absl::string_view address) override { return inner_->Listen(address); }
  void StopListening(absl::string_view bound_address) override { inner_->StopListening(bound_address); }
  absl::StatusOr<ConnectionId> Connect(absl::string_view address, uint32_t path, absl::Span<const std::byte> hello,
                                       void* context, int64_t deadline_ns) override;
  absl::StatusOr<ConnectionId> Accept(std::unique_ptr<PendingConnection> pending,
                                      absl::Span<const std::byte> reply_hello, void* context) override;
  size_t Post(absl::Span<const WorkRequest> batch) override;
  size_t Poll(absl::Span<Event> events) override;
  void Wait(int64_t deadline_ns) override;
  void Wake() override { inner_->Wake(); }
  void Close(ConnectionId connection, absl::Status reason) override;
  PeerWindows* windows() override { return inner_->windows(); }
  ConnectionDescription Describe(ConnectionId connection) const override { return inner_->Describe(connection); }
  NodeDistances Distances(ConnectionId connection) const override { return inner_->Distances(connection); }
  PathStatistics Statistics(ConnectionId connection) const override { return inner_->Statistics(connection); }
  uint64_t MemoryBytes(ConnectionId connection) const override;

 private:
  // Held back for one connection; more is back-pressure.
  static constexpr size_t kHeldMax = 256;
  static constexpr uint64_t kHeldBytesMax = 64 << 20;

  struct Channel {
    void* context = nullptr;
    bool killed = false;
    uint64_t held_bytes = 0;
    std::deque<OwnedWork> line;   // leaves in this order, each not before its time
    std::deque<OwnedWork> aside;  // reordered messages and late duplicates
  };
  // Work that the inner transport reports as sent: its kSent is ours, or the caller's under another name.
  struct Record {
    bool used = false;
    bool signaled = false;  // by the caller
    uint64_t work_id = 0;   // the caller's
    ConnectionId connection = 0;
    OwnedWork owned;
  };

  Channel& ChannelOf(ConnectionId connection);
  void Forget(ConnectionId connection);
  absl::StatusOr<ConnectionId> Named(absl::StatusOr<ConnectionId> connection, void* context);
  std::vector<std::byte> MaybeCorruptHello(absl::Span<const std::byte> hello);

  size_t PartOf(FaultKind kind, size_t count, size_t least);
  std::optional<FaultKind> Roll(const WorkRequest& work);
  bool Applies(FaultKind kind, const WorkRequest& work) const;
  bool PostOne(const WorkRequest& work);
  bool PostUnchanged(const WorkRequest& work);
  void PostFaulty(FaultKind kind, const WorkRequest& work);
  bool Submit(OwnedWork* owned);  // to the inner transport; false: it takes no more
  void Enqueue(OwnedWork owned);  // behind what is held for the connection
  int64_t SomeTimeFromNow();
  void SetAside(OwnedWork owned, uint32_t posts);
  void Damage(std::vector<std::byte>* bytes);
  void Truncate(OwnedWork* owned);
  static OwnedWork CopyOf(const WorkRequest& work);
  uint32_t TakeRecord(const WorkRequest& work);

  void CountPost(Channel* channel);
  void ReleaseHeld();
  void ReleaseHeldOf(Channel* channel, int64_t now_ns);
  bool Translate(Event* event);

  Clock* const clock_;
  const std::shared_ptr<FaultLedger> ledger_;
  const bool inert_;
  Random random_;
  uint64_t work_seen_ = 0;
  bool rush_ = false;  // the next Wait returns at once
  size_t held_ = 0;
  std::deque<Channel> channels_;  // by ConnectionId
  std::deque<Record> records_;    // by inner work id; stable addresses, payload is read from there
  std::vector<uint32_t> free_records_;
  std::deque<Event> sent_;  // kSent of work that was dropped
  // Last, so that it goes first: it reads the copies above.
  const std::unique_ptr<Transport> inner_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_FAULT_DEVICE_H_
