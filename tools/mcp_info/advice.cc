#include "tools/mcp_info/advice.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace mcp::info {
namespace {

// Registered memory is pinned, so a limit below this stops a training job at once.
constexpr uint64_t kMemlockEnough = uint64_t{1} << 30;

bool ModuleIs(const Facts& facts, const char* name, const char* state) {
  return std::any_of(facts.kernel_modules.begin(), facts.kernel_modules.end(),
                     [&](const KernelModule& module) { return module.name == name && module.state == state; });
}

void AdviseOnMissingDevices(const Facts& facts, std::vector<std::string>& advice) {
  if (!facts.rdma_devices.empty()) return;
  advice.push_back(
      "no RDMA device: data goes over TCP. If a NIC of this host has RDMA, its driver's RDMA part is not loaded "
      "(mlx5_ib, irdma, bnxt_re)");
  if (ModuleIs(facts, "rdma_rxe", "can be loaded")) {
    advice.push_back(
        "RoCE in software can be had for tests: modprobe rdma_rxe && rdma link add rxe0 type rxe netdev INTERFACE");
  }
}

bool HasGid(const Port& port, internal::GidKind kind) {
  return std::any_of(port.gids.begin(), port.gids.end(), [&](const Gid& gid) { return KindOf(gid) == kind; });
}

// Of a port that is active: whom it reaches.
void AdviseOnGids(const Port& port, const std::string& name, std::vector<std::string>& advice) {
  if (HasGid(port, internal::GidKind::kRoutable)) return;
  advice.push_back(
      HasGid(port, internal::GidKind::kRoutableV1)
          ? absl::StrCat(name,
                         " has an IP address by RoCE v1 alone, which ends at the Ethernet segment: RoCE v2 "
                         "is the device's, its driver's or its configuration's to have")
          : absl::StrCat(name, " has no routable GID: give its network device an IP address"));
}

void AdviseOnDevices(const Facts& facts, std::vector<std::string>& advice) {
  for (const RdmaDevice& device : facts.rdma_devices) {
    if (!device.problem.empty()) advice.push_back(absl::StrCat(device.name, ": ", device.problem));
    for (const Port& port : device.ports) {
      const std::string name = absl::StrCat(device.name, "/", port.number);
      if (!port.active()) {
        advice.push_back(absl::StrCat(
            name, " is ", port.state, ": check cable and switch, ",
            port.link_layer == "InfiniBand" ? "and that a subnet manager runs" : "and that its network device is up"));
        continue;
      }
      AdviseOnGids(port, name, advice);
      if (port.mtu_active && port.mtu_max && *port.mtu_active < *port.mtu_max) {
        advice.push_back(absl::StrCat(name, " uses a path MTU of ", *port.mtu_active, " of ", *port.mtu_max,
                                      ": an Ethernet MTU of 4200 or more gives 4096"));
      }
    }
  }
}

void AdviseOnHost(const Facts& facts, std::vector<std::string>& advice) {
  const MemoryLimits& memory = facts.memory;
  if (!facts.rdma_devices.empty() && !memory.memlock_exempt && memory.memlock_soft &&
      *memory.memlock_soft < kMemlockEnough) {
    advice.push_back(absl::StrCat("the memlock limit is ", *memory.memlock_soft / 1024,
                                  " KiB, and RDMA pins what is registered: ulimit -l unlimited, or memlock in "
                                  "/etc/security/limits.conf"));
  }
  if (!facts.io_uring.usable) {
    advice.push_back(absl::StrCat("TCP goes over epoll, which costs more system calls: ", facts.io_uring.reason));
  }
  const bool any = std::any_of(facts.gpu_registration.begin(), facts.gpu_registration.end(),
                               [](const GpuRegistration& way) { return way.available; });
  if (!facts.gpus.empty() && !facts.rdma_devices.empty() && !any) {
    advice.push_back(
        "RDMA can't reach GPU memory, so it is staged through the host: load nvidia-peermem, or a driver "
        "that exports dmabufs");
  }
}

}  // namespace

std::vector<std::string> Advise(const Facts& facts) {
  std::vector<std::string> advice;
  AdviseOnMissingDevices(facts, advice);
  AdviseOnDevices(facts, advice);
  AdviseOnHost(facts, advice);
  return advice;
}

}  // namespace mcp::info
