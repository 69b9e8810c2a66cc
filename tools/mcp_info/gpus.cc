#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tools/mcp_info/collect.h"
#include "tools/mcp_info/system_files.h"

namespace mcp::info {
namespace {

constexpr char kNvidia[] = "0x10de";

const char* VendorName(const std::string& id) {
  if (id == kNvidia) return "NVIDIA";
  if (id == "0x1002") return "AMD";
  if (id == "0x8086") return "Intel";
  return nullptr;
}

// A display controller of class 0x0300 without a 3D engine of use is told by having no driver that computes; what has
// one of these is a GPU here.
bool IsGpu(const std::string& device_class, const std::string& driver) {
  if (absl::StartsWith(device_class, "0x0302") || absl::StartsWith(device_class, "0x1200")) return true;
  return absl::StartsWith(device_class, "0x0300") && (driver == "nvidia" || driver == "amdgpu" || driver == "xe");
}

std::string Model(const std::string& root, const std::string& address, const std::string& path) {
  const std::string model =
      LabelledValue(absl::StrCat(root, "/proc/driver/nvidia/gpus/", address, "/information"), "Model");
  if (!model.empty()) return model;
  return absl::StrCat("PCI ", ReadText(path + "/vendor"), ":", ReadText(path + "/device"));
}

GpuRegistration PeerMemory(const std::string& root, bool nvidia) {
  GpuRegistration way{"nvidia-peermem", false, ""};
  if (!nvidia) {
    way.reason = "no NVIDIA driver is loaded";
  } else if (Exists(root + "/sys/module/nvidia_peermem")) {
    way.available = true;
  } else {
    way.reason =
        "the module is not loaded (modprobe nvidia-peermem; it comes with the NVIDIA driver and needs an ib_core "
        "that knows peer memory, as MLNX_OFED and DOCA have)";
  }
  return way;
}

// Which kernel modules NVIDIA's driver consists of decides: only the open ones export dmabufs.
GpuRegistration Dmabuf(const std::string& root, const std::vector<Gpu>& gpus, bool nvidia) {
  GpuRegistration way{"dmabuf", false, ""};
  const std::string version = ReadText(root + "/proc/driver/nvidia/version");
  bool amd = false;
  for (const Gpu& gpu : gpus) amd = amd || gpu.driver == "amdgpu";
  if (amd || absl::StrContains(version, "Open Kernel Module")) {
    way.available = true;
  } else if (nvidia) {
    way.reason = "NVIDIA's proprietary kernel modules do not export it (install the open ones, 515 or later)";
  } else {
    way.reason = "no GPU driver that exports it is loaded";
  }
  return way;
}

}  // namespace

std::vector<Gpu> CollectGpus(const std::string& root) {
  const std::string folder = root + "/sys/bus/pci/devices/";
  std::vector<Gpu> gpus;
  for (const std::string& address : ListFolder(folder)) {
    const std::string path = folder + address;
    const char* const vendor = VendorName(ReadText(path + "/vendor"));
    const std::string driver = LinkName(path + "/driver");
    if (vendor == nullptr || !IsGpu(ReadText(path + "/class"), driver)) continue;
    gpus.push_back(
        {address, vendor, Model(root, address, path), driver, static_cast<int>(ReadNumber(path + "/numa_node", -1))});
  }
  return gpus;
}

std::vector<GpuRegistration> CollectGpuRegistration(const std::string& root, const std::vector<Gpu>& gpus) {
  const bool nvidia = Exists(root + "/sys/module/nvidia");
  std::vector<GpuRegistration> ways = {PeerMemory(root, nvidia), Dmabuf(root, gpus, nvidia)};
  if (gpus.empty()) {
    for (GpuRegistration& way : ways) way = {way.way, false, "this host has no GPU"};
  }
  return ways;
}

}  // namespace mcp::info
