// Engines under test, joined by one kind of transport, and a way to drive them all with a bound on how long it takes.
//
// MakeEngine is the one place that knows how an engine is put together from a clock, a seed and transports.
#ifndef MCP_TESTS_SUPPORT_ENGINE_WORLD_H_
#define MCP_TESTS_SUPPORT_ENGINE_WORLD_H_

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "lib/base/clock.h"
#include "lib/transport/provider.h"
#include "mcp/engine.h"
#include "tests/support/log_guard.h"
#include "tests/support/transport_node.h"
#include "transports/fault/fault_plan.h"
#include "transports/loopback/loopback_network.h"

namespace mcp::internal {

class EngineWorld {
 public:
  struct Setup {
    TransportKind kind = TransportKind::kLoopback;
    std::optional<FaultPlan> plan;  // none: no decorator
    // Virtual time: engines without lanes only. Drive moves it on when nobody has anything to do.
    ManualClock* clock = nullptr;
    int64_t clock_step_ns = 1'000'000;
    uint64_t seed = 1;
    LoopbackOptions loopback;
    PolicyOptions context;
    std::string profile;                  // a file; empty: none
    uint8_t devices = 1;                  // that each engine has; of the fake kind
    uint8_t ports = 1;                    // that each of these has
    std::array<int, 2> reads = {16, 16};  // RDMA reads each way, of the client's devices and the server's
    bool protect_operations = false;      // verbs only
    // Put between the engines and their transports; null: nothing.
    std::function<std::unique_ptr<Transport>(std::unique_ptr<Transport>)> decorate;
  };

  explicit EngineWorld(const Setup& setup);
  ~EngineWorld();
  EngineWorld(const EngineWorld&) = delete;
  EngineWorld& operator=(const EngineWorld&) = delete;

  // Null, with a failure noted, when it cannot be made.
  Engine* MakeEngine(int lanes);
  void DestroyEngine(Engine* engine);

  std::string any_address() const { return AnyAddress(setup_.kind); }
  FaultLedger* ledger() { return ledger_.get(); }
  LogGuard* log() { return &log_; }
  FakeFabric* fabric() { return fabric_.get(); }  // of the fake device

  // A session from `client` to `server`, both ends. False when it does not come to be within the bound.
  struct Ends {
    Session client;
    Session server;
    absl::Status status;  // why there is none
  };
  bool Connect(Engine* client, Engine* server, const SessionOptions& options, Ends* ends);
  // Nobody listens any more for what Connect has connected to this engine.
  void StopListening(Engine* server);

  // Drives the engines that need it until done() or the bound of the engines' clock passes; returns done().
  bool Drive(absl::FunctionRef<bool()> done, int64_t bound_ns = kPatienceNs);
  // From any thread: what done() looks at may have changed.
  void Notify();
  // One Progress of every engine without lanes.
  size_t ProgressAll();

 private:
  struct Member {
    std::unique_ptr<TransportProvider> provider;
    std::unique_ptr<Engine> engine;
    std::vector<Listener> listeners;  // of the sessions that it accepted: without one, no lost rail comes back
    bool caller_driven = false;
  };

  const Setup setup_;
  LogGuard log_;
  SystemClock system_clock_;
  std::shared_ptr<FaultLedger> ledger_;
  std::shared_ptr<LoopbackNetwork> loopback_;
  std::shared_ptr<FakeFabric> fabric_;
  std::vector<Member> members_;
  uint64_t engines_made_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_ENGINE_WORLD_H_
