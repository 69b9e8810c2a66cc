#include "tools/mcp_tune/live.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace mcp::internal {
namespace {

// Shorter messages go one way only (lib/session/stream.h).
constexpr uint64_t kSmallest = uint64_t{512} << 10;
constexpr uint64_t kLargest = kSmallest << (kLiveOctavesMax - 1);
// Messages before the first that counts: windows open, and memory is touched for the first time.
constexpr uint32_t kWarmUp = 16;
constexpr Protocol kProtocols[] = {Protocol::kBulk, Protocol::kStream};

// Takes one message after another until its session ends; two receives wait, so that no sender waits for one. What they
// receive is not looked at, so they share their memory.
class Sink : public std::enable_shared_from_this<Sink> {
 public:
  Sink(Session session, Region target) : session_(std::move(session)), target_(std::move(target)) {}
  void Start() {
    Receive();
    Receive();
  }

 private:
  void Receive() {
    ReceiveOptions options;
    options.tag_mask = 0;
    const auto done = [self = shared_from_this()](const Result& result) {
      if (result.status.ok()) self->Receive();
    };
    // What is not accepted will not be accepted later: the session has ended. With the last receive this goes, too.
    session_.Receive(0, target_.All(), done, std::move(options)).status().IgnoreError();
  }

  Session session_;
  Region target_;
};

// An engine that sends by one protocol alone.
struct Sender {
  Protocol protocol = Protocol::kBulk;
  std::unique_ptr<Engine> engine;
  Region source;
  Session session;
  Estimator estimator;
  std::vector<KeyState> keys = std::vector<KeyState>(kSizeClasses);
};

absl::StatusOr<Sender> Connect(Protocol protocol, const LiveOptions& options) {
  Sender sender;
  sender.protocol = protocol;
  EngineOptions engine_options;
  engine_options.lanes = options.lanes;
  engine_options.transports = options.transports;
  engine_options.context.policy = "fixed";
  engine_options.context.fixed.protocol = protocol;
  MCP_ASSIGN_OR_RETURN(sender.engine, Engine::Create(engine_options));
  SessionOptions session_options;
  session_options.rails = options.rails;
  MCP_ASSIGN_OR_RETURN(sender.source, sender.engine->Allocate(kSmallest << (options.octaves - 1)));
  MCP_ASSIGN_OR_RETURN(sender.session, sender.engine->Connect(options.address, session_options));
  return sender;
}

absl::StatusOr<int64_t> TimeOne(Sender& sender, uint64_t bytes, const LiveOptions& options) {
  std::promise<absl::Status> sent;
  OperationOptions operation;
  operation.timeout = options.message_timeout;
  const auto begin = std::chrono::steady_clock::now();
  MCP_RETURN_IF_ERROR(sender.session
                          .Send(
                              0, sender.source.Part(0, bytes),
                              [&sent](const Result& result) { sent.set_value(result.status); }, operation)
                          .status());
  MCP_RETURN_IF_ERROR(sent.get_future().get());
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count();
}

// Every protocol meets the same moments of the path: they take turns, message by message.
absl::Status Measure(std::vector<Sender>& senders, const LiveOptions& options) {
  for (uint32_t i = 0; i < kWarmUp + options.messages * options.octaves; ++i) {
    const uint64_t bytes = kSmallest << (i % options.octaves);
    for (Sender& sender : senders) {
      MCP_ASSIGN_OR_RETURN(const int64_t latency_ns, TimeOne(sender, bytes, options));
      if (i < kWarmUp) continue;
      // Learns as an engine does, so that the figures mean the same.
      sender.estimator.Add(bytes, latency_ns, 0, true, &sender.keys[SizeClassOf(bytes)]);
    }
  }
  return absl::OkStatus();
}

// The share of packets that the path lost meanwhile, by the ports of RDMA devices: each counts for all connections, so
// that every sender, and each of its rails by that port, has counted them all. A session over TCP is not told of losses
// before it begins, and so can't look for a point that has some.
double LossOf(const std::vector<Sender>& senders) {
  double losses = 0;
  double bytes = 0;
  for (const Sender& sender : senders) {
    const SessionStatistics statistics = sender.session.Statistics();
    bytes += static_cast<double>(statistics.payload_bytes_sent);
    std::set<std::string> ports;
    size_t rails = 0;
    for (const RailDescription& rail : sender.session.Describe().rails) {
      if (rail.transport != "verbs" || rail.local.empty()) continue;
      ports.insert(rail.local);
      ++rails;
    }
    if (rails == 0) continue;
    const double counted = static_cast<double>(statistics.path_retransmits) / static_cast<double>(rails);
    losses += counted * static_cast<double>(ports.size()) / static_cast<double>(senders.size());
  }
  return std::min(losses * kProfilePacketBytes / std::max(bytes, 1.0), 1.0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LiveServer>> LiveServer::Start(const LiveOptions& options) {
  EngineOptions engine_options;
  engine_options.lanes = options.lanes;
  engine_options.transports = options.transports;
  MCP_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  std::unique_ptr<LiveServer> server(new LiveServer(std::move(engine)));
  Engine* const accepting = server->engine_.get();
  // A session without memory to receive into is refused: its client is told so at once.
  MCP_ASSIGN_OR_RETURN(server->listener_,
                       accepting->Listen(options.address, SessionOptions(), [accepting](Session session) {
                         absl::StatusOr<Region> target = accepting->Allocate(kLargest);
                         if (!target.ok()) return;
                         std::make_shared<Sink>(std::move(session), *std::move(target))->Start();
                       }));
  return server;
}

absl::StatusOr<Profile> MeasureLive(const LiveOptions& options) {
  std::vector<Sender> senders;
  for (const Protocol protocol : kProtocols) {
    MCP_ASSIGN_OR_RETURN(Sender sender, Connect(protocol, options));
    senders.push_back(std::move(sender));
  }
  MCP_RETURN_IF_ERROR(Measure(senders, options));
  Profile profile;
  profile.origin =
      absl::StrCat("measured to ", options.address, ", ", options.messages, " messages a protocol and size");
  ProfilePoint point;
  double ns_per_byte = senders.front().estimator.ns_per_byte();
  double base_ns = senders.front().estimator.base_ns();
  for (const Sender& sender : senders) {
    ns_per_byte = std::min(ns_per_byte, sender.estimator.ns_per_byte());
    base_ns = std::min(base_ns, sender.estimator.base_ns());
    const size_t rails = sender.session.Describe().rails.size();
    const Alternative alternative{.protocol = sender.protocol, .rails = static_cast<uint16_t>((1u << rails) - 1)};
    point.alternatives.push_back({alternative, sender.estimator.base_ns(), sender.estimator.ns_per_byte(),
                                  static_cast<double>(options.messages * options.octaves)});
  }
  // What the path gives to the faster protocol. Announcement, grant, payload and acknowledgement: four times one way.
  point.path.bytes_per_ns = std::clamp(1 / std::max(ns_per_byte, 1e-4), 1e-6, 1e4);
  point.path.latency_ns = std::max(base_ns / 4, 1.0);
  point.path.loss = LossOf(senders);
  profile.points.push_back(std::move(point));
  return profile;
}

}  // namespace mcp::internal
