// Transports under test: a world that joins them, and nodes, each one lane of one engine with what it was told.
#ifndef MCP_TESTS_SUPPORT_TRANSPORT_NODE_H_
#define MCP_TESTS_SUPPORT_TRANSPORT_NODE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/base/clock.h"
#include "lib/memory/region_table.h"
#include "lib/transport/transport.h"
#include "tests/support/log_guard.h"
#include "tests/support/verbs_kind.h"
#include "transports/fault/fault_plan.h"
#include "transports/loopback/loopback_network.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {

enum class TransportKind {
  kLoopback,
  kTcpIoUring,
  kTcpEpoll,
  kTcpPolled,    // io_uring, as a lane uses it whose caller polls
  kVerbs,        // over a device of this host
  kVerbsFake,    // over a device in memory
  kVerbsNoCost,  // over one that checks nothing and moves no payload: engines without lanes, driven by one thread
};

// "loopback", "tcp_io_uring", "tcp_epoll", "tcp_polled", "verbs", "verbs_fake", "verbs_no_cost"
absl::string_view TransportKindName(TransportKind kind);
// Why this host cannot run it; empty when it can.
std::string WhyNoTransport(TransportKind kind);
// An address to listen at, with a name or port of the transport's choice.
std::string AnyAddress(TransportKind kind);
inline bool IsVerbs(TransportKind kind) { return kind >= TransportKind::kVerbs; }

// What one engine's lanes share: the transport's network, its keys.
struct TransportEngine {
  std::unique_ptr<RegionTable> regions;
  std::shared_ptr<TcpNetwork> tcp;
  std::shared_ptr<VerbsNetwork> verbs;
  uint32_t lanes = 0;
};

class TransportNode {
 public:
  struct Message {
    ConnectionId connection = 0;
    void* context = nullptr;
    Event::Write write = Event::Write::kNone;
    std::string bytes;
    absl::Status status;
  };

  TransportNode(TransportEngine* engine, uint32_t lane, std::unique_ptr<Transport> transport)
      : engine_(engine), lane_(lane), transport_(std::move(transport)) {}

  Transport* transport() { return transport_.get(); }
  RegionTable* regions() { return engine_->regions.get(); }
  // Null where devices need not know memory.
  DeviceMemory* device_memory() { return engine_->verbs == nullptr ? nullptr : engine_->verbs->memory(); }
  uint32_t lane() const { return lane_; }
  TransportEngine* engine() { return engine_; }

  // One round of the lane. Events are kept below; `on_message` sees each message at the moment of its delivery.
  size_t Poll();
  void Destroy() { transport_.reset(); }

  // Posts all of it, or fails the test after a while; polls `self_and_others` when there is back-pressure.
  bool PostAll(absl::Span<const WorkRequest> batch, absl::Span<TransportNode* const> self_and_others);

  std::function<void(const Event&)> on_message;
  bool keep_messages = true;

  std::deque<Message> messages;
  std::map<ConnectionId, std::string> connected;  // reply hellos
  std::map<ConnectionId, void*> contexts;         // of kConnected
  std::map<ConnectionId, absl::Status> closed;
  std::vector<void*> closed_contexts;
  std::vector<uint64_t> sent;  // work ids
  std::vector<uint64_t> done;  // of kDone: the last of those that are done
  std::vector<uint64_t> windows_closed;
  std::deque<std::unique_ptr<PendingConnection>> pending;
  uint64_t messages_seen = 0;

 private:
  void Take(Event* event);

  TransportEngine* const engine_;
  const uint32_t lane_;
  std::unique_ptr<Transport> transport_;
};

class TransportWorld {
 public:
  // Without a plan: no decorator.
  TransportWorld(TransportKind kind, std::optional<FaultPlan> plan, Clock* clock = nullptr,
                 const LoopbackOptions& loopback = {});
  ~TransportWorld();

  // A node of a new engine, or a further lane of that node's engine.
  TransportNode* MakeNode();
  TransportNode* MakeLane(TransportNode* sibling);

  TransportKind kind() const { return kind_; }
  Clock* clock() { return clock_; }
  LogGuard* log() { return &log_; }
  FaultLedger* ledger() { return ledger_.get(); }

 private:
  TransportNode* AddNode(TransportEngine* engine);

  const TransportKind kind_;
  LogGuard log_;
  SystemClock system_clock_;
  Clock* const clock_;
  std::shared_ptr<FaultLedger> ledger_;  // null: no decorator
  std::shared_ptr<LoopbackNetwork> loopback_;
  std::shared_ptr<FakeFabric> fabric_;
  std::deque<TransportEngine> engines_;
  std::vector<std::unique_ptr<TransportNode>> nodes_;
};

// Polls the nodes in turn until done() or the bound passes; returns done().
bool DriveUntil(absl::Span<TransportNode* const> nodes, absl::FunctionRef<bool()> done, int64_t bound_ns);

// For what must not happen: polls for a while that is long against any delivery.
void DriveQuietly(absl::Span<TransportNode* const> nodes);

inline constexpr int64_t kPatienceNs = 20'000'000'000;

absl::Span<const std::byte> AsBytes(absl::string_view text);

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_TRANSPORT_NODE_H_
