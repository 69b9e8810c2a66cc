// What stands behind mcp::Engine: one transport kind, its lanes and their threads, registered memory, listeners, and
// the table of live sessions.
//
// Thread rule: any thread, except Progress and Wait (see include/mcp/engine.h). The mutex guards what changes when
// sessions, listeners and regions come and go; no lane holds it while it moves data.
#ifndef MCP_LIB_ENGINE_ENGINE_IMPL_H_
#define MCP_LIB_ENGINE_ENGINE_IMPL_H_

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/context/profile.h"
#include "lib/engine/lane_thread.h"
#include "lib/engine/memlock_registrar.h"
#include "lib/memory/region_impl.h"
#include "lib/memory/region_table.h"
#include "lib/memory/registration_cache.h"
#include "lib/metrics/registry.h"
#include "lib/session/lane.h"
#include "lib/session/session_impl.h"
#include "lib/transport/provider.h"
#include "mcp/engine.h"

namespace mcp::internal {

// What makes an engine deterministic, or observable, in tests. Left empty, each has its real counterpart.
struct EngineDependencies {
  Clock* clock = nullptr;        // outlives the engine
  std::optional<uint64_t> seed;  // of keys and tokens; else from the system's entropy
  Logger* logger = nullptr;      // outlives the engine
  // Used in place of EngineOptions::transports; outlives the engine.
  TransportProvider* provider = nullptr;
};

void AddStatistics(const SessionStatistics& part, SessionStatistics* total);

class EngineImpl final : public SessionHost, public RegionImpl::Owner {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        const EngineDependencies& dependencies);
  ~EngineImpl() override;

  absl::StatusOr<Region> Register(void* data, uint64_t size, const RegionOptions& options);
  absl::StatusOr<Region> Allocate(uint64_t size, const RegionOptions& options);

  absl::StatusOr<std::shared_ptr<SessionImpl>> Connect(absl::string_view address, const SessionOptions& options);
  void ConnectAsync(absl::string_view address, const SessionOptions& options, SessionImpl::OpenCallback callback);

  struct Listening {
    SessionOptions options;
    Engine::AcceptCallback callback;
    std::mutex mutex;  // one session is announced at a time
  };
  absl::StatusOr<std::string> Listen(absl::string_view address, const SessionOptions& options,
                                     Engine::AcceptCallback callback);
  void StopListening(const std::string& address);

  size_t Progress();
  void Wait(std::chrono::microseconds timeout);
  void SetTraining(const TrainingContext& training);
  absl::StatusOr<std::vector<std::string>> Decisions();
  std::string MetricsText() const;

  // SessionHost.
  Lane& lane(uint32_t index) override { return *lanes_[index]; }
  uint32_t lane_count() const override { return static_cast<uint32_t>(lanes_.size()); }
  uint64_t engine_id() const override { return engine_id_; }
  Logger& logger() override { return *logger_; }
  std::vector<Fallback> Fallbacks() const override;
  void Reclaim(SessionImpl* session) override;

  // RegionImpl::Owner.
  void RevokeKeys(const std::vector<uint64_t>& keys) override;
  void OnEveryLane(absl::AnyInvocable<void() const> function) override;
  void Recycle(RegionImpl* region) override;

 private:
  EngineImpl(const EngineOptions& options, const EngineDependencies& dependencies);

  absl::Status Start();
  absl::Status ChooseProvider();
  absl::Status ChoosePolicy();
  absl::Status LoadProfile();
  absl::Status StartLanes();
  void AddMetrics();

  // Runs the function on the lane and waits for it; drives the lane where nobody else does.
  void RunAndWait(Lane& lane, absl::AnyInvocable<void() &&> function);
  void WaitFor(std::future<void> done);
  // Whether this thread may block until a lane has done something.
  absl::Status MayWait(absl::string_view what) const;
  bool caller_driven() const { return threads_.empty(); }

  void OnIncoming(std::unique_ptr<PendingConnection> pending);
  absl::Status Incoming(std::unique_ptr<PendingConnection>& pending);
  void AcceptSession(const Hello& hello, std::shared_ptr<Listening> listening,
                     std::unique_ptr<PendingConnection> pending);
  // An engine has one transport: what another might do is for the caller to decide.
  absl::Status WithHint(const absl::Status& status) const;
  uint16_t RailsFor(const SessionOptions& options) const;
  std::shared_ptr<SessionImpl> NewSession(const SessionOptions& options, uint64_t token, std::string peer);
  uint64_t NewToken();
  RegionImpl* NewRegion();
  absl::StatusOr<Region> OpenRegion(RegionImpl* region, const DeviceRange& memory,
                                    absl::AnyInvocable<void() &&> release);
  SessionStatistics TotalStatistics() const;

  const EngineOptions options_;
  SystemClock system_clock_;
  Clock* clock_;
  std::unique_ptr<Logger> own_logger_;
  Logger* logger_;
  std::unique_ptr<TransportProvider> own_provider_;
  TransportProvider* provider_;
  std::vector<Fallback> start_fallbacks_;
  std::string chosen_;  // the transport, if there is another that this host might allow
  std::unique_ptr<Policy> own_policy_;
  const Policy* policy_ = nullptr;
  std::optional<Profile> profile_;
  Random random_;  // guarded by mutex_ once the engine runs
  uint64_t engine_id_;
  std::unique_ptr<RegionTable> regions_;
  Registry registry_;
  MemlockRegistrar pinner_;
  RegistrationCache pinned_{pinner_, {.granularity = static_cast<uint64_t>(sysconf(_SC_PAGESIZE))}};
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<uint32_t> next_lane_{0};
  std::thread::id driver_;  // of an engine without lanes: who drives it

  mutable std::mutex mutex_;
  std::unordered_map<SessionImpl*, std::shared_ptr<SessionImpl>> sessions_;
  std::unordered_map<uint64_t, SessionImpl*> sessions_by_token_;
  std::map<std::string, std::shared_ptr<Listening>, std::less<>> listening_;
  std::vector<std::unique_ptr<RegionImpl>> region_objects_;
  std::vector<RegionImpl*> region_free_;
  SessionStatistics ended_sessions_;  // totals of those that are gone
  uint64_t sessions_opened_ = 0;

  std::vector<std::unique_ptr<LaneThread>> threads_;  // last: they end before what they use
};

}  // namespace mcp::internal

#endif  // MCP_LIB_ENGINE_ENGINE_IMPL_H_
