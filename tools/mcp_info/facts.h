// What mcp-info knows about a host. Plain values: collect.h fills them, report.h shows them, choice.h judges them.
#ifndef MCP_TOOLS_MCP_INFO_FACTS_H_
#define MCP_TOOLS_MCP_INFO_FACTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "transports/verbs/numa.h"
#include "transports/verbs/ranking.h"

namespace mcp::info {

// Who can be reached from a GID.
enum class GidReach {
  kRoutable,   // RoCE v2 with an address that is not link-local, or InfiniBand
  kLinkLocal,  // its own Ethernet segment only: a link-local address
  kSegment,    // its own Ethernet segment only: RoCE v1 has no IP header
};
const char* GidReachName(GidReach reach);

struct Gid {
  int index = 0;
  std::string value;           // as the kernel writes it: eight groups of four digits
  std::string address;         // the IP address that it is: "10.0.0.1", "fe80::1"
  std::string type;            // "RoCE v2", "RoCE v1", "InfiniBand"
  std::string network_device;  // the network device under it; empty for InfiniBand
  GidReach reach = GidReach::kRoutable;
};
// As the transport ranks it.
internal::GidKind KindOf(const Gid& gid);

struct Port {
  int number = 0;
  std::string state;           // "ACTIVE", "DOWN"
  std::string physical_state;  // "LinkUp"
  std::string link_layer;      // "Ethernet", "InfiniBand"
  std::string rate;            // "100 Gb/sec (4X EDR)"
  double speed_gbps = 0;       // 0: not known
  // Bytes of the path MTU. Empty where this build has no libibverbs to ask, or the device does not answer.
  std::optional<int> mtu_active;
  std::optional<int> mtu_max;
  std::vector<Gid> gids;

  bool active() const { return state == "ACTIVE"; }
};

struct RdmaDevice {
  std::string name;
  std::string driver;  // "mlx5_core", "rdma_rxe"
  std::string firmware;
  std::string node_guid;
  std::string pci_address;                   // empty for software devices
  int numa_node = -1;                        // -1: not known
  uint32_t numa_distance = 0;                // from the CPUs that this process may use
  internal::NodeDistances numa_distances{};  // from each node of memory
  std::string problem;                       // why libibverbs can't open it; empty: it can, or this build can't ask
  std::vector<std::string> limits;           // "max_mr_size 8.0 EiB", ...
  std::vector<Port> ports;
};

// A network device as TCP sees it.
struct Interface {
  std::string name;
  std::string state;  // "up", "down", "unknown"
  int mtu = 0;        // bytes
  int64_t speed_mbps = 0;
  int numa_node = -1;
  std::string rdma_device;  // the RDMA device on it
  std::vector<std::string> addresses;
};

struct HugePages {
  uint64_t size = 0;  // bytes of one
  uint64_t total = 0;
  uint64_t free = 0;
};

struct MemoryLimits {
  std::optional<uint64_t> memlock_soft;  // bytes; empty: unlimited
  std::optional<uint64_t> memlock_hard;
  bool memlock_exempt = false;  // CAP_IPC_LOCK: the limit does not count
  std::vector<HugePages> huge_pages;
  std::string transparent_huge_pages;  // "always", "madvise", "never"
};

struct IoUring {
  bool usable = false;
  std::string reason;  // why not
};

struct Gpu {
  std::string pci_address;
  std::string vendor;  // "NVIDIA", "AMD", "Intel"
  std::string model;   // as its driver names it, else the PCI id
  std::string driver;  // empty: none is bound
  int numa_node = -1;
};

// A way to let RDMA devices reach GPU memory.
struct GpuRegistration {
  std::string way;  // "nvidia-peermem", "dmabuf"
  bool available = false;
  std::string reason;
};

struct KernelModule {
  std::string name;
  std::string state;  // "loaded", "built in", "can be loaded", "not there"
  std::string purpose;
};

struct TransportState {
  std::string name;  // "verbs", "tcp"
  bool usable = false;
  std::string reason;  // why not
};

struct Facts {
  std::string host;
  std::string kernel;
  std::string cpu_model;
  int cpus = 0;
  int numa_nodes = 0;
  std::vector<TransportState> transports;  // in the order in which `auto` prefers them
  std::vector<RdmaDevice> rdma_devices;
  std::vector<Interface> interfaces;
  MemoryLimits memory;
  IoUring io_uring;
  std::vector<Gpu> gpus;
  std::vector<GpuRegistration> gpu_registration;
  std::vector<KernelModule> kernel_modules;
};

}  // namespace mcp::info

#endif  // MCP_TOOLS_MCP_INFO_FACTS_H_
