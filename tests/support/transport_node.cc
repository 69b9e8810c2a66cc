#include "tests/support/transport_node.h"

#include <sched.h>

#include <utility>

#include "gtest/gtest.h"
#include "transports/fault/fault_transport.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kSlotsMax = 4096;
constexpr size_t kEventsPerPoll = 64;
// A local delivery takes microseconds; this leaves room for a busy machine.
constexpr int64_t kQuietNs = 30'000'000;

TcpConfig TcpConfigFor(TransportKind kind) {
  TcpConfig config;
  config.io = kind == TransportKind::kTcpEpoll ? TcpConfig::Io::kEpoll : TcpConfig::Io::kIoUring;
  config.polled = kind == TransportKind::kTcpPolled;
  return config;
}

}  // namespace

absl::string_view TransportKindName(TransportKind kind) {
  switch (kind) {
    case TransportKind::kLoopback:
      return "loopback";
    case TransportKind::kTcpIoUring:
      return "tcp_io_uring";
    case TransportKind::kTcpEpoll:
      return "tcp_epoll";
    case TransportKind::kTcpPolled:
      return "tcp_polled";
    case TransportKind::kVerbs:
      return "verbs";
    case TransportKind::kVerbsFake:
      return "verbs_fake";
    case TransportKind::kVerbsNoCost:
      return "verbs_no_cost";
  }
  return "";
}

std::string WhyNoTransport(TransportKind kind) {
  if (kind == TransportKind::kLoopback) return "";
  if (IsVerbs(kind)) return WhyNoVerbs(kind != TransportKind::kVerbs);
  Logger quiet(LogLevel::kError, [](LogLevel, absl::string_view) {});
  const auto network = CreateTcpNetwork(TcpConfigFor(kind), &quiet);
  return network.ok() ? "" : std::string(network.status().message());
}

std::string AnyAddress(TransportKind kind) {
  if (kind == TransportKind::kVerbs) return VerbsDeviceAddress();
  return kind == TransportKind::kLoopback ? "loopback:" : "127.0.0.1:0";
}

size_t TransportNode::Poll() {
  if (transport_ == nullptr) return 0;
  Event events[kEventsPerPoll];
  regions()->EnterRound(lane_);
  const size_t count = transport_->Poll(absl::MakeSpan(events));
  for (size_t i = 0; i < count; ++i) Take(&events[i]);
  regions()->LeaveRound(lane_);
  return count;
}

void TransportNode::Take(Event* event) {
  switch (event->kind) {
    case Event::Kind::kConnected:
      EXPECT_EQ(connected.count(event->connection), 0u) << "connected twice";
      closed.erase(event->connection);
      connected[event->connection] = std::string(reinterpret_cast<const char*>(event->data), event->data_bytes);
      contexts[event->connection] = event->context;
      break;
    case Event::Kind::kIncoming:
      pending.emplace_back(event->pending);
      break;
    case Event::Kind::kMessage:
      ++messages_seen;
      if (on_message) on_message(*event);
      if (keep_messages) {
        messages.push_back(Message{event->connection, event->context, event->write,
                                   std::string(reinterpret_cast<const char*>(event->data), event->data_bytes),
                                   event->status});
      }
      break;
    case Event::Kind::kSent:
      sent.push_back(event->work_id);
      break;
    case Event::Kind::kDone:
      done.push_back(event->work_id);
      break;
    case Event::Kind::kWindowClosed:
      windows_closed.push_back(event->work_id);
      break;
    case Event::Kind::kClosed:
      EXPECT_FALSE(event->status.ok()) << "kClosed without a reason";
      connected.erase(event->connection);
      closed[event->connection] = event->status;
      closed_contexts.push_back(event->context);
      break;
  }
}

bool TransportNode::PostAll(absl::Span<const WorkRequest> batch, absl::Span<TransportNode* const> self_and_others) {
  const bool posted = DriveUntil(
      self_and_others,
      [&] {
        batch.remove_prefix(transport_->Post(batch));
        return batch.empty();
      },
      kPatienceNs);
  EXPECT_TRUE(posted) << batch.size() << " work requests were never taken";
  return posted;
}

TransportWorld::TransportWorld(TransportKind kind, std::optional<FaultPlan> plan, Clock* clock,
                               const LoopbackOptions& loopback)
    : kind_(kind), clock_(clock != nullptr ? clock : &system_clock_), loopback_(LoopbackNetwork::Create(loopback)) {
  if (plan.has_value()) ledger_ = std::make_shared<FaultLedger>(*plan);
}

TransportWorld::~TransportWorld() {
  for (auto& node : nodes_) node->pending.clear();
}

TransportNode* TransportWorld::MakeNode() {
  TransportEngine& engine = engines_.emplace_back();
  engine.regions = std::make_unique<RegionTable>(kSlotsMax, Random(engines_.size()));
  if (IsVerbs(kind_)) {
    if (kind_ == TransportKind::kVerbsFake && fabric_ == nullptr) fabric_ = MakeFakeFabric();
    auto network = MakeVerbsNetwork(fabric_, log_.logger());
    if (!network.ok()) {
      ADD_FAILURE() << network.status();
      return nullptr;
    }
    engine.verbs = *std::move(network);
  } else if (kind_ != TransportKind::kLoopback) {
    auto network = CreateTcpNetwork(TcpConfigFor(kind_), log_.logger());
    if (!network.ok()) {
      ADD_FAILURE() << network.status();
      return nullptr;
    }
    engine.tcp = *std::move(network);
  }
  return AddNode(&engine);
}

TransportNode* TransportWorld::MakeLane(TransportNode* sibling) { return AddNode(sibling->engine()); }

TransportNode* TransportWorld::AddNode(TransportEngine* engine) {
  std::unique_ptr<Transport> transport;
  if (kind_ == TransportKind::kLoopback) {
    transport = loopback_->CreateTransport(clock_, engine->regions.get());
  } else {
    auto created = IsVerbs(kind_) ? MakeVerbsTransport(engine->verbs, clock_, engine->lanes)
                                  : CreateTcpTransport(engine->tcp, engine->regions.get(), clock_, engine->lanes);
    if (!created.ok()) {
      ADD_FAILURE() << created.status();
      return nullptr;
    }
    transport = *std::move(created);
  }
  if (ledger_ != nullptr) transport = CreateFaultTransport(std::move(transport), clock_, ledger_);
  nodes_.push_back(std::make_unique<TransportNode>(engine, engine->lanes++, std::move(transport)));
  return nodes_.back().get();
}

bool DriveUntil(absl::Span<TransportNode* const> nodes, absl::FunctionRef<bool()> done, int64_t bound_ns) {
  SystemClock clock;
  const int64_t deadline_ns = clock.NowNs() + bound_ns;
  for (;;) {
    if (done()) return true;
    size_t events = 0;
    for (TransportNode* node : nodes) events += node->Poll();
    if (events > 0) continue;
    if (clock.NowNs() > deadline_ns) return done();
    sched_yield();  // the kernel, or another lane's thread, may need this core
  }
}

void DriveQuietly(absl::Span<TransportNode* const> nodes) {
  DriveUntil(
      nodes, [] { return false; }, kQuietNs);
}

absl::Span<const std::byte> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace mcp::internal
