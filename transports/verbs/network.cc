#include "transports/verbs/network.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace mcp::internal {
namespace {

// Soft-RoCE takes each loss for a failed attempt until the peer has acknowledged something, which it is asked for at
// the end of a message or after 64 packets. Long writes over a path that loses one packet of a hundred then fail,
// although they get on: so they leave in pieces of 16 packets.
constexpr uint32_t kSoftRoceVendor = 0xffffff;
constexpr uint32_t kSoftRoceMessageBytesMax = 64 << 10;

const char* PortStateText(ibv_port_state state) { return ibv_port_state_str(state); }

}  // namespace

absl::StatusOr<std::shared_ptr<VerbsNetwork>> CreateVerbsNetwork(const VerbsConfig& config, Logger* logger) {
  return VerbsNetworkImpl::Create(config, logger, SystemVerbsCalls());
}

absl::StatusOr<std::shared_ptr<VerbsNetworkImpl>> VerbsNetworkImpl::Create(const VerbsConfig& config, Logger* logger,
                                                                           std::unique_ptr<VerbsCalls> calls) {
  std::shared_ptr<VerbsNetworkImpl> network(new VerbsNetworkImpl(config, logger, std::move(calls)));
  MCP_RETURN_IF_ERROR(network->OpenDevices());
  MCP_RETURN_IF_ERROR(network->ChooseSource());
  std::vector<ibv_pd*> domains;
  for (const auto& device : network->devices_) {
    MCP_ASSIGN_OR_RETURN(device->domain, network->calls_->AllocateDomain(device->opened.context));
    domains.push_back(device->domain);
  }
  network->memory_ = std::make_unique<VerbsMemory>(*network->calls_, std::move(domains));
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
  if (!devices_.empty()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("no RDMA device can be used: ", absl::StrJoin(passed_over_, "; ")));
}

std::string VerbsNetworkImpl::Consider(const OpenedDevice& opened) {
  const std::vector<std::string> wanted = absl::StrSplit(config_.device, '/');
  if (!config_.device.empty() && wanted[0] != opened.name)
    return absl::StrCat("not the one asked for, ", config_.device);
  int wanted_port = 0;
  if (wanted.size() > 1 && !absl::SimpleAtoi(wanted[1], &wanted_port)) return absl::StrCat("no port ", wanted[1]);
  if (devices_.size() == kDevicesMax) return absl::StrCat("more than ", kDevicesMax, " devices");
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
    device->index = static_cast<uint8_t>(devices_.size());
    device->port = port;
    device->port_attributes = *attributes;
    if (opened.attributes.vendor_id == kSoftRoceVendor) {
      device->port_attributes.max_msg_sz = std::min(attributes->max_msg_sz, kSoftRoceMessageBytesMax);
    }
    device->gids = calls_->Gids(opened.context);
    std::stable_sort(device->gids.begin(), device->gids.end(),
                     [](const GidEntry& a, const GidEntry& b) { return GidRank(a) > GidRank(b); });
    devices_.push_back(std::move(device));
    return "";
  }
  return states.empty() ? "it has no such port" : states;
}

// Nothing was asked for: the route to the peer decides, and with it the GID.
absl::Status VerbsNetworkImpl::ChooseSource() {
  if (config_.device.empty() && config_.gid_index < 0) return absl::OkStatus();
  const VerbsDevice& device = *devices_.front();
  for (const GidEntry& gid : device.gids) {
    if (gid.port != device.port || (config_.gid_index >= 0 && static_cast<int>(gid.index) != config_.gid_index))
      continue;
    source_ = AddressOfGid(gid);
    if (source_.has_value() || config_.gid_index < 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("verbs ", device.opened.name, ": GID ", FormatGid(gid), " stands for no address to connect from"));
  }
  if (config_.gid_index < 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("verbs ", device.opened.name, ": port ", device.port, " has no GID of index ", config_.gid_index));
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
  int64_t read_ns = device.counters_read_ns.load(std::memory_order_relaxed);
  const bool due = now_ns - read_ns >= kCountersEveryNs && !device.gone.load(std::memory_order_acquire);
  if (due && device.counters_read_ns.compare_exchange_strong(read_ns, now_ns, std::memory_order_relaxed)) {
    device.times_sent_again.store(calls_->TimesSentAgain(device.opened.context, device.port),
                                  std::memory_order_relaxed);
  }
  return device.times_sent_again.load(std::memory_order_relaxed);
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
