#include "transports/verbs/network.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "lib/base/assert.h"
#include "lib/base/endpoint.h"
#include "lib/base/status_macros.h"
#include "transports/verbs/handshake.h"
#include "transports/verbs/queues.h"

namespace mcp::internal {
namespace {

// Soft-RoCE takes each loss for a failed attempt until the peer has acknowledged something, which it is asked for at
// the end of a message or after 64 packets. Long writes over a path that loses one packet of a hundred then fail,
// although they get on: so they leave in pieces of 16 packets.
constexpr uint32_t kSoftRoceVendor = 0xffffff;
constexpr uint32_t kSoftRoceMessageBytesMax = 64 << 10;

const char* PortStateText(ibv_port_state state) { return ibv_port_state_str(state); }

// "mlx5_0" asks for every port of mlx5_0, "mlx5_0/1" for one. Port 0: for any.
bool AsksFor(absl::string_view wanted, absl::string_view device, int port) {
  if (!absl::ConsumePrefix(&wanted, device)) return false;
  return wanted.empty() || (port == 0 ? wanted[0] == '/' : wanted == absl::StrCat("/", port));
}

}  // namespace

absl::StatusOr<std::shared_ptr<VerbsNetwork>> CreateVerbsNetwork(const VerbsConfig& config, Logger* logger) {
  return VerbsNetworkImpl::Create(config, logger, SystemVerbsCalls());
}

absl::StatusOr<std::shared_ptr<VerbsNetworkImpl>> VerbsNetworkImpl::Create(const VerbsConfig& config, Logger* logger,
                                                                           std::unique_ptr<VerbsCalls> calls) {
  MCP_ASSERT(config.credits >= kCreditsMin && config.credits <= kCreditsPerConnection);
  std::shared_ptr<VerbsNetworkImpl> network(new VerbsNetworkImpl(config, logger, std::move(calls)));
  MCP_RETURN_IF_ERROR(network->OpenDevices());
  MCP_RETURN_IF_ERROR(network->CheckSource());
  MCP_RETURN_IF_ERROR(network->AllocateDomains());
  network->ListenToDevices();
  std::vector<ibv_pd*> domains;
  for (const auto& device : network->devices_) domains.push_back(device->domain);
  const VerbsMemory::Regions regions = network->ChooseProtection();
  network->memory_ = std::make_unique<VerbsMemory>(*network->calls_, std::move(domains), regions, network->FindsNodes(),
                                                   [unowned = network.get()] { unowned->Announce(); });
  MCP_ASSIGN_OR_RETURN(network->waiting_room_, network->calls_->CreateEventChannel());
  return network;
}

VerbsNetworkImpl::VerbsNetworkImpl(const VerbsConfig& config, Logger* logger, std::unique_ptr<VerbsCalls> calls)
    : config_(config), logger_(logger), calls_(std::move(calls)) {}

VerbsNetworkImpl::~VerbsNetworkImpl() {
  calls_->StopListening();
  if (waiting_room_ != nullptr) calls_->DestroyEventChannel(waiting_room_);
  memory_.reset();
  std::set<ibv_pd*> domains;
  for (const auto& device : devices_) {
    if (device->domain != nullptr && domains.insert(device->domain).second) calls_->FreeDomain(device->domain);
    if (device->gone.load(std::memory_order_acquire)) calls_->AbandonDevice(device->opened.context);
  }
}

absl::Status VerbsNetworkImpl::OpenDevices() {
  MCP_ASSIGN_OR_RETURN(const std::vector<OpenedDevice> opened, calls_->OpenDevices());
  std::vector<std::unique_ptr<VerbsDevice>> ports;
  std::vector<PortFacts> facts;
  for (const OpenedDevice& device : opened) {
    for (uint8_t port = 1; port <= device.attributes.phys_port_cnt; ++port) {
      ports.push_back(Consider(device, port, &facts.emplace_back()));
    }
  }
  const absl::Status asked_for = CheckAskedFor(facts);
  static_assert(kPortsUsedMax == kDevicesMax);
  for (const RankedPort& ranked : RankPorts(facts, kPortsUsedMax)) {
    if (!ranked.reason.empty()) {
      passed_over_.push_back(absl::StrCat(facts[ranked.index].name, ": ", ranked.reason));
      continue;
    }
    devices_.push_back(std::move(ports[ranked.index]));
    devices_.back()->index = static_cast<uint8_t>(devices_.size() - 1);
  }
  const std::string others = absl::StrJoin(passed_over_, "; ");
  if (!asked_for.ok()) return absl::UnavailableError(absl::StrCat(asked_for.message(), ": ", others));
  if (!devices_.empty()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("no RDMA device can be used: ", others));
}

absl::Status VerbsNetworkImpl::CheckAskedFor(const std::vector<PortFacts>& ports) const {
  for (const std::string& wanted : config_.devices) {
    const bool found = std::any_of(ports.begin(), ports.end(), [&](const PortFacts& port) {
      return port.why_not.empty() && (wanted == port.name || absl::StartsWith(port.name, absl::StrCat(wanted, "/")));
    });
    if (!found) return absl::UnavailableError(absl::StrCat("RDMA device ", wanted, " was asked for and can't be used"));
  }
  return absl::OkStatus();
}

std::unique_ptr<VerbsDevice> VerbsNetworkImpl::Consider(const OpenedDevice& opened, uint8_t port, PortFacts* facts) {
  auto device = std::make_unique<VerbsDevice>();
  device->opened = opened;
  device->port = port;
  facts->name = device->name();
  if (!config_.devices.empty()) {
    const auto asked = std::find_if(config_.devices.begin(), config_.devices.end(),
                                    [&](const std::string& wanted) { return AsksFor(wanted, opened.name, port); });
    if (asked == config_.devices.end()) {
      facts->why_not = absl::StrCat("not asked for, as ", absl::StrJoin(config_.devices, " and "), " were");
      return nullptr;
    }
    facts->place = static_cast<size_t>(asked - config_.devices.begin());
    // A device that was named without its port has one rail before any has two.
    if (*asked == opened.name && port > 1) facts->place += config_.devices.size();
  }
  const absl::StatusOr<ibv_port_attr> attributes = calls_->QueryPort(opened.context, port);
  if (!attributes.ok() || attributes->state != IBV_PORT_ACTIVE) {
    facts->why_not = attributes.ok() ? PortStateText(attributes->state) : std::string(attributes.status().message());
    return nullptr;
  }
  device->port_attributes = *attributes;
  if (opened.attributes.vendor_id == kSoftRoceVendor) {
    device->port_attributes.max_msg_sz = std::min(attributes->max_msg_sz, kSoftRoceMessageBytesMax);
  }
  device->gids = calls_->Gids(opened.context);
  std::erase_if(device->gids, [&](const GidEntry& gid) { return gid.port != port; });
  std::stable_sort(device->gids.begin(), device->gids.end(),
                   [](const GidEntry& a, const GidEntry& b) { return KindOfGid(a) > KindOfGid(b); });
  facts->gid = device->gids.empty() ? GidKind::kNone : KindOfGid(device->gids.front());
  facts->megabits_per_second = calls_->LinkMegabits(opened.context, port, *attributes);
  facts->numa_distance = calls_->NumaDistance(opened.context);
  device->distances = calls_->DistancesFromNodes(opened.context);
  return device;
}

// One for each device, whatever ports of it are used.
absl::Status VerbsNetworkImpl::AllocateDomains() {
  for (const auto& device : devices_) {
    for (const auto& other : devices_) {
      if (other->opened.context == device->opened.context && other->domain != nullptr) device->domain = other->domain;
    }
    if (device->domain != nullptr) continue;
    MCP_ASSIGN_OR_RETURN(device->domain, calls_->AllocateDomain(device->opened.context));
  }
  return absl::OkStatus();
}

// A GID that was asked for must be there: on a port of every device that was asked for, else on one at least.
absl::Status VerbsNetworkImpl::CheckSource() {
  if (config_.gid_index < 0) return absl::OkStatus();
  std::vector<std::string> without;
  // Of what was asked for: what has no port in use needs none.
  std::vector<bool> served(std::max<size_t>(1, config_.devices.size()), !config_.devices.empty());
  for (size_t i = 0; i < config_.devices.size(); ++i) {
    for (const auto& device : devices_) {
      if (AsksFor(config_.devices[i], device->opened.name, device->port)) served[i] = false;
    }
  }
  for (const auto& device : devices_) {
    const auto found = std::find_if(device->gids.begin(), device->gids.end(), [&](const GidEntry& gid) {
      return static_cast<int>(gid.index) == config_.gid_index;
    });
    if (found == device->gids.end()) {
      without.push_back(absl::StrCat("verbs ", device->opened.name, ": port ", device->port, " has no GID of index ",
                                     config_.gid_index));
    } else if (!AddressOfGid(*found).has_value()) {
      without.push_back(absl::StrCat("verbs ", device->opened.name, ": GID ", FormatGid(*found),
                                     " stands for no address to connect from"));
    } else {
      for (size_t i = 0; i < served.size(); ++i) {
        served[i] =
            served[i] || config_.devices.empty() || AsksFor(config_.devices[i], device->opened.name, device->port);
      }
    }
  }
  if (std::find(served.begin(), served.end(), false) != served.end()) {
    return absl::InvalidArgumentError(absl::StrJoin(without, "; "));
  }
  passed_over_.insert(passed_over_.end(), without.begin(), without.end());
  return absl::OkStatus();
}

const VerbsDevice* VerbsNetworkImpl::DeviceAt(const VerbsAddress& address) const {
  for (const auto& device : devices_) {
    for (const GidEntry& gid : device->gids) {
      const std::optional<VerbsAddress> own = AddressOfGid(gid);
      if (own.has_value() && own->SameHost(address)) return device.get();
      // A link-local one stands for an address of its interface alone, which the address names.
      const absl::Span<const uint8_t> raw(gid.gid.raw);
      if (!own.has_value() && address.is_link_local() && raw == address.host_bytes()) return device.get();
    }
  }
  return nullptr;
}

std::string VerbsNetworkImpl::AddressesText() const {
  std::vector<std::string> texts;
  for (const auto& device : devices_) {
    for (const sa_family_t family : {AF_INET, AF_INET6}) {
      const std::optional<VerbsAddress> address = device->AddressOf(family, -1);
      if (address.has_value()) texts.push_back(absl::StrCat(device->name(), " ", FormatVerbsHost(*address)));
    }
  }
  return texts.empty() ? "they have none of their own" : absl::StrJoin(texts, ", ");
}

// What an InfiniBand port has for an address is its IPoIB interface's matter, which only the connection manager knows.
absl::Status VerbsNetworkImpl::CheckAddress(absl::string_view address) {
  MCP_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(address, 0));
  // From here on what is wrong is wrong with the path: another transport may have a better one.
  const absl::StatusOr<std::string> numeric = ResolveVerbsAddress(FormatEndpoint(endpoint));
  if (!numeric.ok()) return absl::UnavailableError(numeric.status().message());
  MCP_ASSIGN_OR_RETURN(const VerbsAddress named, ParseVerbsAddress(*numeric));
  if (named.is_any()) return absl::OkStatus();
  absl::StatusOr<VerbsAddress> found = SourceFor(named);
  if (!found.ok()) return absl::UnavailableError(found.status().message());
  VerbsAddress source = *found;
  const bool is_own = source.SameHost(named);
  if (DeviceAt(source) != nullptr || (chooses() && !is_own)) return absl::OkStatus();
  source.set_port(0);
  MCP_ASSIGN_OR_RETURN(rdma_cm_id * id, calls_->CreateId(waiting_room_, nullptr));
  const bool bound = calls_->Listen(id, source.raw(), 1).ok() && DeviceOf(id) != nullptr;
  calls_->DestroyId(id);
  if (bound) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("no RDMA device has the address ", FormatVerbsHost(source),
                                             is_own ? "" : ", from which this host reaches ",
                                             is_own ? "" : FormatVerbsHost(named), " (", AddressesText(), ")"));
}

// The kernel is asked about this very call's memory, since what it refuses it refuses for all.
bool VerbsNetworkImpl::FindsNodes() {
  const bool differ = std::any_of(devices_.begin(), devices_.end(),
                                  [&](const auto& device) { return device->distances != devices_.front()->distances; });
  if (!differ) return false;
  const std::byte here{};
  const absl::StatusOr<MemoryNode> node = calls_->NodeOf(absl::MakeConstSpan(&here, 1));
  if (node.ok()) return true;
  fallbacks_.push_back(
      {"rails by the node of each region's memory", "rails in turn", std::string(node.status().message())});
  return false;
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

std::string VerbsDevice::name() const { return absl::StrCat(opened.name, "/", static_cast<int>(port)); }

std::optional<VerbsAddress> VerbsDevice::AddressOf(sa_family_t family, int gid_index) const {
  for (const GidEntry& gid : gids) {
    if (gid_index >= 0 && static_cast<int>(gid.index) != gid_index) continue;
    std::optional<VerbsAddress> address = AddressOfGid(gid);
    if (address.has_value() && address->storage.ss_family == family) return address;
  }
  return std::nullopt;
}

std::string VerbsDevice::GidText(int gid_index) const {
  const auto found = std::find_if(gids.begin(), gids.end(),
                                  [&](const GidEntry& gid) { return static_cast<int>(gid.index) == gid_index; });
  return found == gids.end() ? absl::StrCat("index ", gid_index) : FormatGid(*found);
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

VerbsDevice* VerbsNetworkImpl::DeviceOf(const rdma_cm_id* id) {
  for (const auto& device : devices_) {
    if (device->opened.context == id->verbs && device->port == id->port_num) return device.get();
  }
  return nullptr;
}

uint64_t VerbsNetworkImpl::NewNonce() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return random_.Next();
}

// Once for all ports of a device.
void VerbsNetworkImpl::ListenToDevices() {
  std::set<ibv_context*> contexts;
  for (const auto& device : devices_) {
    if (!contexts.insert(device->opened.context).second) continue;
    calls_->ListenToAsyncEvents(device->opened.context,
                                [this, device = device.get()](const ibv_async_event& event) { Take(*device, event); });
  }
}

void VerbsNetworkImpl::TakeAsyncEvents() {
  for (const auto& device : devices_) {
    if (!device->gone.load(std::memory_order_acquire)) calls_->TakeAsyncEvents(device->opened.context);
  }
}

void VerbsNetworkImpl::Take(VerbsDevice& device, const ibv_async_event& event) {
  const AsyncFault& fault = FaultOf(event.event_type);
  switch (fault.action) {
    case FaultAction::kNone:
      return;
    case FaultAction::kFlushed:
      if (event.element.qp->qp_context == nullptr) return;
      static_cast<QueuePairReport*>(event.element.qp->qp_context)->last_receive.store(true, std::memory_order_release);
      for (const auto& port : devices_) {
        if (port->opened.context == device.opened.context) port->last_receives_missed.store(0);
      }
      return WakeLanes();  // the one that ends the connection looks by itself
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
      return ReportGone(device);
  }
  Announce();
}

void VerbsNetworkImpl::ReportGone(VerbsDevice& device) {
  bool news = false;
  for (const auto& port : devices_) {
    if (port->opened.context == device.opened.context) news = !port->gone.exchange(true) || news;
  }
  if (news) Announce();
}

Losses VerbsNetworkImpl::LossesOf(VerbsDevice& device, int64_t now_ns) {
  const std::lock_guard<std::mutex> lock(device.counters_mutex);  // whoever comes second gets what the first has read
  const bool due = device.counters_read_ns == 0 || now_ns - device.counters_read_ns >= kCountersEveryNs;
  if (due && !device.gone.load(std::memory_order_acquire)) {
    device.counters_read_ns = now_ns;
    device.losses.Take(calls_->Counters(device.opened.context, device.port));
  }
  return device.losses;
}

void VerbsNetworkImpl::Announce() {
  reports_.fetch_add(1, std::memory_order_release);
  WakeLanes();
}

void VerbsNetworkImpl::WakeLanes() {
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
