// What the lanes of one engine share: opened devices with their protection domains, registered memory, a place where
// connection requests wait to be accepted, and what devices report of themselves.
//
// Thread rule: any thread. Lifetime: outlives the lanes' transports and every pending connection.
#ifndef MCP_TRANSPORTS_VERBS_NETWORK_H_
#define MCP_TRANSPORTS_VERBS_NETWORK_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "transports/verbs/address.h"
#include "transports/verbs/calls.h"
#include "transports/verbs/faults.h"
#include "transports/verbs/memory.h"
#include "transports/verbs/paths.h"
#include "transports/verbs/verbs_transport.h"

namespace mcp::internal {

// One port of a device, which rails go by. Ports of one device share its domain.
struct VerbsDevice {
  OpenedDevice opened;
  uint8_t index = 0;  // of the rkey in a window
  uint8_t port = 1;
  ibv_port_attr port_attributes = {};
  std::vector<GidEntry> gids;  // the port's, best first
  std::string name() const;    // "mlx5_0/1"
  // From which it connects, and which it tells peers: of the best GID of that family, if it has one.
  std::optional<VerbsAddress> AddressOf(sa_family_t family, int gid_index) const;
  // "::ffff:10.0.0.1 (index 3, RoCE v2)"; the number alone of one that came later.
  std::string GidText(int gid_index) const;
  NodeDistances distances{};  // from each node of memory
  ibv_pd* domain = nullptr;
  std::atomic<bool> gone{false};
  // How often in a row it has not said that a failed queue pair has given back what it took off its shared receive
  // queue, as it has to (InfiniBand Architecture Specification, 10.3.1). Soft-RoCE of Linux 6.1 does not, that of 6.12
  // does.
  std::atomic<uint32_t> last_receives_missed{0};
  // As of the last time that a lane asked.
  std::mutex counters_mutex;
  Losses losses;
  int64_t counters_read_ns = 0;  // 0: never
};

// A lane reads them, at most nine files of sysfs, and meanwhile does nothing else. Some drivers ask their firmware.
inline constexpr int64_t kCountersEveryNs = 50'000'000;

// A queue pair's part in what devices report: written by whichever lane takes the event, read by its own.
struct QueuePairReport {
  std::atomic<int> event{-1};             // an ibv_event_type that calls for an end
  std::atomic<bool> last_receive{false};  // what it took off the shared receive queue has come back
};

class VerbsNetworkImpl final : public VerbsNetwork {
 public:
  static absl::StatusOr<std::shared_ptr<VerbsNetworkImpl>> Create(const VerbsConfig& config, Logger* logger,
                                                                  std::unique_ptr<VerbsCalls> calls);
  ~VerbsNetworkImpl() override;

  DeviceMemory* memory() override { return memory_.get(); }
  std::vector<TransportFallback> Fallbacks() const override { return fallbacks_; }

  const VerbsConfig& config() const { return config_; }
  VerbsCalls& calls() { return *calls_; }
  // Whether operations are protected by windows, rather than by registrations or not at all.
  bool binds_windows() const { return binds_windows_; }
  VerbsMemory& verbs_memory() { return *memory_; }
  Logger& logger() { return *logger_; }
  size_t device_count() const { return devices_.size(); }
  VerbsDevice& device(size_t index) { return *devices_[index]; }
  // That the connection manager's id has been bound to. Null: one that is not used.
  VerbsDevice* DeviceOf(const rdma_cm_id* id);
  // Why sessions at this address of the host, or of a peer, can't go by these devices; OK: they can, or might.
  absl::Status CheckAddress(absl::string_view address) override;
  // Null: none that is used has the address.
  const VerbsDevice* DeviceAt(const VerbsAddress& address) const;
  // Where a listener is of use: the addresses of the devices, for messages.
  std::string AddressesText() const;
  // Why devices were passed over, one line each.
  const std::vector<std::string>& passed_over() const { return passed_over_; }
  // The addresses of this host to try for a peer, best first: those of the devices that are still there. `first`: of
  // the one that reached the peer before.
  std::vector<VerbsAddress> Sources(sa_family_t family, const std::optional<VerbsAddress>& first);
  // Where a device or a GID was asked for, no route decides.
  bool chooses() const { return !config_.devices.empty() || config_.gid_index >= 0; }
  // What else to tell a peer that came in by `device`.
  std::vector<VerbsAddress> OtherAddresses(const VerbsDevice& device, sa_family_t family, uint16_t port);
  VerbsPeers& peers() { return peers_; }
  rdma_event_channel* waiting_room() { return waiting_room_; }
  uint64_t NewNonce();

  // Takes what the devices have to report, also of other engines'. Counts in reports() what concerns connections, for
  // lanes to look.
  void TakeAsyncEvents();
  // The device is of no more use: every connection on it is to close.
  void ReportGone(VerbsDevice& device);
  // Of all its connections: devices count by port. Asks them at most every kCountersEveryNs, whoever wants to know.
  Losses LossesOf(VerbsDevice& device, int64_t now_ns);
  uint64_t reports() const { return reports_.load(std::memory_order_acquire); }
  void AddLane(Transport* lane);
  void RemoveLane(Transport* lane);

 private:
  VerbsNetworkImpl(const VerbsConfig& config, Logger* logger, std::unique_ptr<VerbsCalls> calls);
  absl::Status OpenDevices();
  // A port that may be used, and what ranks it; or why it may not.
  std::unique_ptr<VerbsDevice> Consider(const OpenedDevice& opened, uint8_t port, PortFacts* facts);
  absl::Status CheckAskedFor(const std::vector<PortFacts>& ports) const;
  absl::Status CheckSource();
  absl::Status AllocateDomains();
  void ListenToDevices();
  // Whether it makes a difference by which device memory of a node is reached, and the kernel tells of which it is.
  bool FindsNodes();
  // How operations will be protected, which says how regions are to be registered.
  VerbsMemory::Regions ChooseProtection();
  // By any thread: of an engine on the same device, perhaps.
  void Take(VerbsDevice& device, const ibv_async_event& event);
  // Lanes are to look at what was reported.
  void Announce();
  void WakeLanes();

  const VerbsConfig config_;
  Logger* const logger_;
  const std::unique_ptr<VerbsCalls> calls_;
  std::vector<std::unique_ptr<VerbsDevice>> devices_;
  std::vector<std::string> passed_over_;
  VerbsPeers peers_;
  bool binds_windows_ = false;
  std::vector<TransportFallback> fallbacks_;
  std::unique_ptr<VerbsMemory> memory_;
  rdma_event_channel* waiting_room_ = nullptr;
  std::atomic<uint64_t> reports_{0};
  std::mutex mutex_;  // guards what follows
  Random random_ = Random::FromEntropy();
  std::vector<Transport*> lanes_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_NETWORK_H_
