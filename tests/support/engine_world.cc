#include "tests/support/engine_world.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "lib/base/status_macros.h"
#include "lib/engine/engine_impl.h"
#include "transports/fault/fault_transport.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {
namespace {

// A transport of the world's kind for each lane, decorated where the world has a plan.
class TestProvider final : public TransportProvider {
 public:
  TestProvider(std::shared_ptr<LoopbackNetwork> loopback, std::shared_ptr<TcpNetwork> tcp,
               std::shared_ptr<VerbsNetwork> verbs, std::shared_ptr<FaultLedger> ledger,
               decltype(EngineWorld::Setup::decorate) decorate)
      : loopback_(std::move(loopback)),
        tcp_(std::move(tcp)),
        verbs_(std::move(verbs)),
        ledger_(std::move(ledger)),
        decorate_(std::move(decorate)) {}

  absl::StatusOr<std::unique_ptr<Transport>> CreateTransport(RegionTable* regions, Clock* clock,
                                                             uint32_t lane) override {
    std::unique_ptr<Transport> transport;
    if (verbs_ != nullptr) {
      MCP_ASSIGN_OR_RETURN(transport, MakeVerbsTransport(verbs_, clock, lane));
    } else if (tcp_ == nullptr) {
      transport = loopback_->CreateTransport(clock, regions);
    } else {
      MCP_ASSIGN_OR_RETURN(transport, CreateTcpTransport(tcp_, regions, clock, lane));
    }
    if (decorate_) transport = decorate_(std::move(transport));
    if (ledger_ != nullptr) transport = CreateFaultTransport(std::move(transport), clock, ledger_);
    return transport;
  }
  absl::StatusOr<std::string> Resolve(absl::string_view address) override { return std::string(address); }
  std::vector<TransportFallback> Fallbacks() const override { return {}; }
  DeviceMemory* device_memory() override { return verbs_ == nullptr ? nullptr : verbs_->memory(); }

 private:
  const std::shared_ptr<LoopbackNetwork> loopback_;
  const std::shared_ptr<TcpNetwork> tcp_;
  const std::shared_ptr<VerbsNetwork> verbs_;
  const std::shared_ptr<FaultLedger> ledger_;
  const decltype(EngineWorld::Setup::decorate) decorate_;
};

}  // namespace

EngineWorld::EngineWorld(const Setup& setup) : setup_(setup), loopback_(LoopbackNetwork::Create(setup.loopback)) {
  if (setup_.plan.has_value()) ledger_ = std::make_shared<FaultLedger>(*setup_.plan);
  if (setup_.kind == TransportKind::kVerbsFake) fabric_ = MakeFakeFabric(setup_.devices, setup_.ports, setup_.reads);
  if (setup_.kind == TransportKind::kVerbsNoCost) fabric_ = MakeNoCostFabric();
}

EngineWorld::~EngineWorld() {
  while (!members_.empty()) DestroyEngine(members_.back().engine.get());
}

Engine* EngineWorld::MakeEngine(int lanes) {
  Member member;
  std::shared_ptr<TcpNetwork> tcp;
  std::shared_ptr<VerbsNetwork> verbs;
  if (IsVerbs(setup_.kind)) {
    VerbsConfig config;
    config.protect_operations = setup_.protect_operations;
    auto network = MakeVerbsNetwork(fabric_, log_.logger(), config);
    if (!network.ok()) {
      ADD_FAILURE() << network.status();
      return nullptr;
    }
    verbs = *std::move(network);
  } else if (setup_.kind != TransportKind::kLoopback) {
    TcpConfig config;
    config.io = setup_.kind == TransportKind::kTcpEpoll ? TcpConfig::Io::kEpoll : TcpConfig::Io::kIoUring;
    config.polled = lanes == 0;
    auto network = CreateTcpNetwork(config, log_.logger());
    if (!network.ok()) {
      ADD_FAILURE() << network.status();
      return nullptr;
    }
    tcp = *std::move(network);
  }
  member.provider =
      std::make_unique<TestProvider>(loopback_, std::move(tcp), std::move(verbs), ledger_, setup_.decorate);
  EngineOptions options;
  options.lanes = lanes;
  options.context = setup_.context;
  options.profile = setup_.profile;
  EngineDependencies dependencies;
  dependencies.clock = setup_.clock;
  dependencies.seed = setup_.seed + engines_made_++;
  dependencies.logger = log_.logger();
  dependencies.provider = member.provider.get();
  auto engine = EngineImpl::Create(options, dependencies);
  if (!engine.ok()) {
    ADD_FAILURE() << engine.status();
    return nullptr;
  }
  member.engine = *std::move(engine);
  member.caller_driven = lanes == 0;
  members_.push_back(std::move(member));
  return members_.back().engine.get();
}

void EngineWorld::DestroyEngine(Engine* engine) {
  const auto member =
      std::find_if(members_.begin(), members_.end(), [engine](const Member& m) { return m.engine.get() == engine; });
  Member gone = std::move(*member);
  members_.erase(member);
  gone.listeners.clear();
  gone.engine.reset();
}

bool EngineWorld::Connect(Engine* client, Engine* server, const SessionOptions& options, Ends* ends) {
  // Shared with the callbacks, which may come after this call has given up.
  struct Meeting {
    std::mutex mutex;
    bool connected = false;
    Ends ends;
  };
  auto meeting = std::make_shared<Meeting>();
  // On all devices and ports, of which the client is told the first.
  const bool on_all = setup_.devices > 1 || setup_.ports > 1;
  auto listener = server->Listen(on_all ? "0.0.0.0:0" : any_address(), options, [this, meeting](Session session) {
    const std::lock_guard<std::mutex> lock(meeting->mutex);
    meeting->ends.server = std::move(session);
    Notify();
  });
  if (!listener.ok()) {
    ends->status = listener.status();
    return false;
  }
  const std::string address =
      on_all ? absl::StrReplaceAll(listener->address(), {{"0.0.0.0", "127.0.0.1"}}) : listener->address();
  client->ConnectAsync(address, options, [this, meeting](absl::StatusOr<Session> session) {
    const std::lock_guard<std::mutex> lock(meeting->mutex);
    meeting->connected = true;
    meeting->ends.status = session.status();
    if (session.ok()) meeting->ends.client = *std::move(session);
    Notify();
  });
  const bool met = Drive([&] {
    const std::lock_guard<std::mutex> lock(meeting->mutex);
    return meeting->connected && (meeting->ends.server.valid() || !meeting->ends.status.ok());
  });
  const std::lock_guard<std::mutex> lock(meeting->mutex);
  *ends = std::move(meeting->ends);
  for (Member& member : members_) {
    if (member.engine.get() == server) member.listeners.push_back(*std::move(listener));
  }
  if (!meeting->connected) ends->status = absl::DeadlineExceededError("the connect callback never ran");
  return met && ends->status.ok();
}

void EngineWorld::StopListening(Engine* server) {
  for (Member& member : members_) {
    if (member.engine.get() == server) member.listeners.clear();
  }
}

size_t EngineWorld::ProgressAll() {
  size_t done = 0;
  for (Member& member : members_) {
    if (member.caller_driven) done += member.engine->Progress();
  }
  return done;
}

bool EngineWorld::Drive(absl::FunctionRef<bool()> done, int64_t bound_ns) {
  constexpr int kQuietRounds = 4;  // acknowledgements wait a round or two
  Clock* clock = setup_.clock != nullptr ? static_cast<Clock*>(setup_.clock) : &system_clock_;
  const int64_t deadline_ns = clock->NowNs() + bound_ns;
  const bool driven = std::any_of(members_.begin(), members_.end(), [](const Member& m) { return m.caller_driven; });
  int quiet = 0;
  while (!done()) {
    if (clock->NowNs() > deadline_ns) return false;
    if (ProgressAll() > 0) {
      quiet = 0;
    } else if (setup_.clock != nullptr) {
      if (++quiet >= kQuietRounds) setup_.clock->Advance(setup_.clock_step_ns);
    } else if (driven) {
      sched_yield();
    } else {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, std::chrono::milliseconds(1));
    }
  }
  return true;
}

void EngineWorld::Notify() { changed_.notify_all(); }

}  // namespace mcp::internal
