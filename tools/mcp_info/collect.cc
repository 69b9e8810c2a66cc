#include "tools/mcp_info/collect.h"

#include "absl/status/status.h"
#include "mcp/engine.h"
#include "tools/mcp_info/system_files.h"
#include "tools/mcp_perf/host.h"

namespace mcp::info {
namespace {

// One without lanes makes no thread.
absl::Status TryTransport(const char* name, std::vector<Fallback>& fallbacks) {
  EngineOptions options;
  options.lanes = 0;
  options.transports = {name};
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
  if (engine.ok()) fallbacks = (*engine)->Fallbacks();
  return engine.status();
}

}  // namespace

std::vector<TransportState> CollectTransports() {
  std::vector<TransportState> states;
  for (const char* name : {"verbs", "tcp"}) {
    std::vector<Fallback> fallbacks;
    const absl::Status status = TryTransport(name, fallbacks);
    TransportState state{name, status.ok(), std::string(status.message())};
    // What the library calls an unknown name is a build without it.
    if (absl::IsInvalidArgument(status)) state.reason = "this build of mcp has no such transport";
    states.push_back(std::move(state));
  }
  return states;
}

Facts CollectFacts() {
  const std::string root;
  Facts facts;
  const perf::HostInfo host = perf::DescribeHost();
  facts.host = host.host;
  facts.kernel = host.kernel;
  facts.cpu_model = host.cpu_model;
  facts.cpus = host.cpus;
  for (const std::string& name : ListFolder("/sys/devices/system/node")) {
    if (name.rfind("node", 0) == 0 && name.size() > 4) ++facts.numa_nodes;
  }
  facts.transports = CollectTransports();
  facts.rdma_devices = CollectRdmaDevices(root);
  QueryVerbs(facts.rdma_devices);
  facts.interfaces = CollectInterfaces(root, facts.rdma_devices);
  facts.memory = CollectMemoryLimits(root);
  facts.io_uring = ProbeIoUring(root);
  facts.gpus = CollectGpus(root);
  facts.gpu_registration = CollectGpuRegistration(root, facts.gpus);
  facts.kernel_modules = CollectKernelModules(root);
  return facts;
}

}  // namespace mcp::info
