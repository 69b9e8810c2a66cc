#include <sys/utsname.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tools/mcp_info/collect.h"
#include "tools/mcp_info/system_files.h"

namespace mcp::info {
namespace {

struct Wanted {
  const char* name;
  const char* purpose;
};

constexpr Wanted kWanted[] = {
    {"ib_core", "RDMA at all"},
    {"ib_uverbs", "RDMA from programs: /dev/infiniband/uverbs*"},
    {"rdma_ucm", "connection management from programs: /dev/infiniband/rdma_cm"},
    {"mlx5_ib", "NVIDIA ConnectX and BlueField"},
    {"irdma", "Intel E810 and X722"},
    {"bnxt_re", "Broadcom NetXtreme"},
    {"efa", "Amazon EFA"},
    {"rdma_rxe", "RoCE in software, on any Ethernet device"},
    {"siw", "iWARP in software (mcp needs RoCE or InfiniBand)"},
    {"nvidia_peermem", "registration of NVIDIA GPU memory"},
};

// True where "modules.dep" or "modules.builtin" has a line for the module's file.
bool Listed(const std::string& file, const std::string& module) {
  std::ifstream lines(file);
  std::string line;
  const std::string name = absl::StrCat("/", module, ".ko");
  while (std::getline(lines, line)) {
    // Files say rdma-rxe or rdma_rxe for the same module; only the part before the colon is about the module itself.
    if (absl::StrContains(absl::StrReplaceAll(line.substr(0, line.find(':')), {{"-", "_"}}), name)) return true;
  }
  return false;
}

std::string State(const std::string& root, const std::string& release, const std::string& module) {
  if (Exists(absl::StrCat(root, "/sys/module/", module))) return "loaded";
  for (const char* folder : {"/lib/modules/", "/usr/lib/modules/"}) {
    const std::string path = absl::StrCat(root, folder, release);
    if (Listed(path + "/modules.builtin", module)) return "built in";
    if (Listed(path + "/modules.dep", module)) return "can be loaded";
  }
  return "not there";
}

}  // namespace

std::vector<KernelModule> CollectKernelModules(const std::string& root) {
  utsname system;
  const std::string release = uname(&system) == 0 ? system.release : "";
  std::vector<KernelModule> modules;
  for (const Wanted& wanted : kWanted) {
    modules.push_back({wanted.name, State(root, release, wanted.name), wanted.purpose});
  }
  return modules;
}

}  // namespace mcp::info
