#include "transports/verbs/network.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"

namespace mcp::internal {
namespace {

// Soft-RoCE takes each loss for a failed attempt until the peer has acknowledged something, which it is asked for at
// the end of a message or after 64 packets. Long writes over a path that loses one packet of a hundred then fail,
// although they get on: so they leave in pieces of 16 packets.
constexpr uint32_t kSoftRoceVendor = 0xffffff;
constexpr uint32_t kSoftRoceMessageBytesMax = 64 << 10;

const char* PortStateText(ibv_port_state state) { return ibv_port_state_str(state); }

// "mlx5_0" and "mlx5_0/1" name mlx5_0.
bool IsNamed(absl::string_view wanted, absl::string_view device) {
  return absl::ConsumePrefix(&wanted, device) && (wanted.empty() || wanted[0] == '/');
}

// Of the link, from the codes of a PortInfo (InfiniBand Architecture Specification, 14.2.5.6); 0 where unknown.
int64_t MegabitsPerSecond(const ibv_port_attr& port) {
  int64_t lane = 0;
  switch (port.active_speed) {
    case 1:
      lane = 2'500;
      break;
    case 2:
      lane = 5'000;
      break;
    case 4:
    case 8:
      lane = 10'000;
      break;
    case 16:
      lane = 14'000;
      break;
    case 32:
      lane = 25'000;
      break;
    case 64:
      lane = 50'000;
      break;
    case 128:
      lane = 100'000;
      break;
    default:
      break;
  }
  switch (port.active_width) {
    case 1:
      return lane;
    case 2:
      return 4 * lane;
    case 4:
      return 8 * lane;
    case 8:
      return 12 * lane;
    case 16:
      return 2 * lane;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<VerbsNetwork>> CreateVerbsNetwork(const VerbsConfig& config, Logger* logger) {
  return VerbsNetworkImpl::Create(config, logger, SystemVerbsCalls());
}

absl::StatusOr<std::shared_ptr<VerbsNetworkImpl>> VerbsNetworkImpl::Create(const VerbsConfig& config, Logger* logger,
                                                                           std::unique_ptr<VerbsCalls> calls) {
  std::shared_ptr<VerbsNetworkImpl> network(new VerbsNetworkImpl(config, logger, std::move(calls)));
  MCP_RETURN_IF_ERROR(network->OpenDevices());
  MCP_RETURN_IF_ERROR(network->CheckSource());
  std::vector<ibv_pd*> domains;
  for (const auto& device : network->devices_) {
    MCP_ASSIGN_OR_RETURN(device->domain, network->calls_->AllocateDomain(device->opened.context));
    domains.push_back(device->domain);
  }
  const VerbsMemory::Regions regions = network->ChooseProtection();
  network->memory_ = std::make_unique<VerbsMemory>(*network->calls_, std::move(domains), regions,
                                                   [unowned = network.get()] { unowned->Announce(); });
  MCP_ASSIGN_OR_RETURN(network->waiting_room_, network->calls_->CreateEventChannel());
  return network;
}

VerbsNetworkImpl::VerbsNetworkImpl(const VerbsConfig& config, Logger* logger, std::unique_ptr<VerbsCalls> calls)
    : config_(config), logger_(logger), calls_(std::move(calls)) {}

VerbsNetworkImpl::~VerbsNetworkImpl() {
  if (waiting_room_ != nullptr) calls_->DestroyEventChannel(waiting_room_);
  memory_.reset();
  for (const auto& device : devices_) {
    if (device->domain != nullptr) calls_->FreeDomain(device->domain);
    if (device->gone.load(std::memory_order_acquire)) calls_->AbandonDevice(device->opened.context);
  }
}

absl::Status VerbsNetworkImpl::OpenDevices() {
  MCP_ASSIGN_OR_RETURN(const std::vector<OpenedDevice> opened, calls_->OpenDevices());
  for (const OpenedDevice& device : opened) {
    const std::string why_not = Consider(device);
    if (!why_not.empty()) passed_over_.push_back(absl::StrCat(device.name, ": ", why_not));
  }
  if (!devices_.empty()) return RankDevices();
  return absl::UnavailableError(absl::StrCat("no RDMA device can be used: ", absl::StrJoin(passed_over_, "; ")));
}

// Those asked for in the order of the asking, else the best first; at most as many as a window has keys.
absl::Status VerbsNetworkImpl::RankDevices() {
  const auto place = [this](const VerbsDevice& device) {
    return std::find_if(config_.devices.begin(), config_.devices.end(),
                        [&](const std::string& wanted) { return IsNamed(wanted, device.opened.name); }) -
           config_.devices.begin();
  };
  for (const std::string& wanted : config_.devices) {
    if (std::any_of(devices_.begin(), devices_.end(), [&](const auto& device) {
          return wanted == device->opened.name ||
                 wanted == absl::StrCat(device->opened.name, "/", static_cast<int>(device->port));
        })) {
      continue;
    }
    return absl::UnavailableError(
        absl::StrCat("RDMA device ", wanted, " was asked for and can't be used: ", absl::StrJoin(passed_over_, "; ")));
  }
  std::stable_sort(devices_.begin(), devices_.end(), [&](const auto& a, const auto& b) {
    const auto rank = [&](const VerbsDevice& device) {
      return std::tuple(place(device), device.gids.empty() ? 0 : -GidRank(device.gids.front()),
                        -MegabitsPerSecond(device.port_attributes), device.numa_distance);
    };
    return rank(*a) < rank(*b);
  });
  for (size_t i = kDevicesMax; i < devices_.size(); ++i) {
    passed_over_.push_back(
        absl::StrCat(devices_[i]->opened.name, ": ", kDevicesMax, " others are better, and no more are used"));
  }
  devices_.resize(std::min(devices_.size(), kDevicesMax));
  for (size_t i = 0; i < devices_.size(); ++i) devices_[i]->index = static_cast<uint8_t>(i);
  return absl::OkStatus();
}

std::string VerbsNetworkImpl::Consider(const OpenedDevice& opened) {
  int wanted_port = 0;
  if (!config_.devices.empty()) {
    const auto asked = std::find_if(config_.devices.begin(), config_.devices.end(),
                                    [&](const std::string& wanted) { return IsNamed(wanted, opened.name); });
    if (asked == config_.devices.end()) {
      return absl::StrCat("not asked for, as ", absl::StrJoin(config_.devices, " and "), " were");
    }
    const std::vector<std::string> wanted = absl::StrSplit(*asked, '/');
    if (wanted.size() > 1 && !absl::SimpleAtoi(wanted[1], &wanted_port)) return absl::StrCat("no port ", wanted[1]);
  }
  std::string states;
  for (uint8_t port = 1; port <= opened.attributes.phys_port_cnt; ++port) {
    if (wanted_port != 0 && port != wanted_port) continue;
    const absl::StatusOr<ibv_port_attr> attributes = calls_->QueryPort(opened.context, port);
    if (!attributes.ok() || attributes->state != IBV_PORT_ACTIVE) {
      absl::StrAppend(&states, states.empty() ? "" : ", ", "port ", port, ": ",
                      attributes.ok() ? PortStateText(attributes->state) : attributes.status().message());
      continue;
    }
    auto device = std::make_unique<VerbsDevice>();
    device->opened = opened;
    device->port = port;
    device->port_attributes = *attributes;
    if (opened.attributes.vendor_id == kSoftRoceVendor) {
      device->port_attributes.max_msg_sz = std::min(attributes->max_msg_sz, kSoftRoceMessageBytesMax);
    }
    device->numa_distance = calls_->NumaDistance(opened.context);
    device->gids = calls_->Gids(opened.context);
    std::stable_sort(device->gids.begin(), device->gids.end(),
                     [](const GidEntry& a, const GidEntry& b) { return GidRank(a) > GidRank(b); });
    devices_.push_back(std::move(device));
    return "";
  }
  return states.empty() ? "it has no such port" : states;
}

// A GID that was asked for must be there: on every device that was asked for, else on one at least.
absl::Status VerbsNetworkImpl::CheckSource() {
  if (config_.gid_index < 0) return absl::OkStatus();
  std::vector<std::string> without;
  for (const auto& device : devices_) {
    const auto found = std::find_if(device->gids.begin(), device->gids.end(), [&](const GidEntry& gid) {
      return gid.port == device->port && static_cast<int>(gid.index) == config_.gid_index;
    });
    if (found == device->gids.end()) {
      without.push_back(absl::StrCat("verbs ", device->opened.name, ": port ", device->port, " has no GID of index ",
                                     config_.gid_index));
    } else if (!AddressOfGid(*found).has_value()) {
      without.push_back(absl::StrCat("verbs ", device->opened.name, ": GID ", FormatGid(*found),
                                     " stands for no address to connect from"));
    }
  }
  if (without.size() < devices_.size() && (without.empty() || config_.devices.empty())) {
    passed_over_.insert(passed_over_.end(), without.begin(), without.end());
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrJoin(without, "; "));
}

// A grant has one key for each device, and a window is bound by a connection, which is one device's.
VerbsMemory::Regions VerbsNetworkImpl::ChooseProtection() {
  if (!config_.protect_operations) return VerbsMemory::Regions::kShared;
  const VerbsDevice& first = *devices_.front();
  std::string why_not;
  if (devices_.size() > 1) {
    why_not = absl::StrCat(devices_.size(), " devices are used, and a window is one device's");
  } else if ((first.opened.attributes.device_cap_flags & IBV_DEVICE_MEM_WINDOW) == 0) {
    why_not = absl::StrCat(first.opened.name, " has none");
  }
  binds_windows_ = why_not.empty();
  if (binds_windows_) return VerbsMemory::Regions::kBindable;
  fallbacks_.push_back({"memory windows for operations", "a registration for each", why_not});
  return VerbsMemory::Regions::kPrivate;
}

std::optional<VerbsAddress> VerbsDevice::AddressOf(sa_family_t family, int gid_index) const {
  for (const GidEntry& gid : gids) {
    if (gid.port != port || (gid_index >= 0 && static_cast<int>(gid.index) != gid_index)) continue;
    std::optional<VerbsAddress> address = AddressOfGid(gid);
    if (address.has_value() && address->storage.ss_family == family) return address;
  }
  return std::nullopt;
}

std::vector<VerbsAddress> VerbsNetworkImpl::Sources(sa_family_t family, const std::optional<VerbsAddress>& first) {
  std::vector<VerbsAddress> sources;
  for (const auto& device : devices_) {
    if (device->gone.load(std::memory_order_acquire)) continue;
    std::optional<VerbsAddress> address = device->AddressOf(family, config_.gid_index);
    const bool reached =
        first.has_value() && std::any_of(device->gids.begin(), device->gids.end(), [&](const auto& gid) {
          const std::optional<VerbsAddress> other = AddressOfGid(gid);
          return other.has_value() && other->SameHost(*first);
        });
    if (reached) address = first;
    if (!address.has_value()) continue;
    address->set_port(0);
    sources.insert(reached && !chooses() ? sources.begin() : sources.end(), *address);
  }
  return sources;
}

std::vector<VerbsAddress> VerbsNetworkImpl::OtherAddresses(const VerbsDevice& device, sa_family_t family,
                                                           uint16_t port) {
  std::vector<VerbsAddress> others;
  for (const auto& other : devices_) {
    if (other.get() == &device || other->gone.load(std::memory_order_acquire)) continue;
    std::optional<VerbsAddress> address = other->AddressOf(family, -1);
    if (!address.has_value()) continue;
    address->set_port(port);
    others.push_back(*address);
  }
  return others;
}

VerbsDevice* VerbsNetworkImpl::DeviceOf(const ibv_context* context) {
  for (const auto& device : devices_) {
    if (device->opened.context == context) return device.get();
  }
  return nullptr;
}

uint64_t VerbsNetworkImpl::NewNonce() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return random_.Next();
}

void VerbsNetworkImpl::TakeAsyncEvents() {
  for (const auto& device : devices_) {
    calls_->TakeAsyncEvents(device->opened.context,
                            [this, &device](const ibv_async_event& event) { Take(*device, event); });
  }
}

void VerbsNetworkImpl::Take(VerbsDevice& device, const ibv_async_event& event) {
  const AsyncFault& fault = FaultOf(event.event_type);
  switch (fault.action) {
    case FaultAction::kNone:
    case FaultAction::kFlushed:
      return;
    case FaultAction::kRetry:
      logger_->Log(LogLevel::kWarning, "verbs ", device.opened.name, ": ", ibv_event_type_str(event.event_type), ": ",
                   fault.cause);
      return;
    case FaultAction::kRailLost:
    case FaultAction::kSessionPoisoned:
      if (fault.scope != AsyncFault::Scope::kQueuePair || event.element.qp->qp_context == nullptr) return;
      static_cast<QueuePairReport*>(event.element.qp->qp_context)->event.store(event.event_type);
      break;
    case FaultAction::kDeviceGone:
      logger_->Log(LogLevel::kError, "verbs ", device.opened.name, ": ", ibv_event_type_str(event.event_type), ": ",
                   fault.cause);
      device.gone.store(true, std::memory_order_release);
      break;
  }
  Announce();
}

void VerbsNetworkImpl::ReportGone(VerbsDevice& device) {
  if (!device.gone.exchange(true)) Announce();
}

uint64_t VerbsNetworkImpl::TimesSentAgain(VerbsDevice& device, int64_t now_ns) {
  const std::lock_guard<std::mutex> lock(device.counters_mutex);  // whoever comes second gets what the first has read
  const bool due = device.counters_read_ns == 0 || now_ns - device.counters_read_ns >= kCountersEveryNs;
  if (due && !device.gone.load(std::memory_order_acquire)) {
    device.counters_read_ns = now_ns;
    device.times_sent_again = calls_->TimesSentAgain(device.opened.context, device.port);
  }
  return device.times_sent_again;
}

void VerbsNetworkImpl::Announce() {
  reports_.fetch_add(1, std::memory_order_release);
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Transport* lane : lanes_) lane->Wake();
}

void VerbsNetworkImpl::AddLane(Transport* lane) {
  const std::lock_guard<std::mutex> lock(mutex_);
  lanes_.push_back(lane);
}

void VerbsNetworkImpl::RemoveLane(Transport* lane) {
  const std::lock_guard<std::mutex> lock(mutex_);
  lanes_.erase(std::remove(lanes_.begin(), lanes_.end(), lane), lanes_.end());
}

}  // namespace mcp::internal
