#include "transports/loopback/loopback_network.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "transports/loopback/device.h"
#include "transports/loopback/mailbox.h"

namespace mcp::internal {
namespace {

constexpr absl::string_view kPrefix = "loopback:";

}  // namespace

std::shared_ptr<LoopbackNetwork> LoopbackNetwork::Create(const LoopbackOptions& options) {
  return std::shared_ptr<LoopbackNetwork>(new LoopbackNetwork(options));
}

std::unique_ptr<Transport> LoopbackNetwork::CreateTransport(Clock* clock, RegionTable* regions) {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::make_unique<LoopbackTransport>(shared_from_this(), absl::StrCat(kPrefix, "@", ++transports_made_), clock,
                                             regions);
}

absl::StatusOr<std::string> LoopbackNetwork::Register(absl::string_view address,
                                                      std::shared_ptr<LoopbackMailbox> listener) {
  if (!absl::StartsWith(address, kPrefix)) {
    return absl::InvalidArgumentError(
        absl::StrCat("loopback: listen at '", address, "': not of the form loopback:NAME"));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  std::string bound(address);
  if (address == kPrefix) bound = absl::StrCat(kPrefix, "#", ++names_made_);
  if (!listeners_.emplace(bound, std::move(listener)).second) {
    return absl::AlreadyExistsError(
        absl::StrCat("loopback: listen at '", address, "': somebody listens there already"));
  }
  return bound;
}

void LoopbackNetwork::Unregister(absl::string_view bound_address, const LoopbackMailbox* listener) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto it = listeners_.find(bound_address);
  if (it != listeners_.end() && it->second.get() == listener) listeners_.erase(it);
}

void LoopbackNetwork::UnregisterAll(const LoopbackMailbox* listener) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto it = listeners_.begin(); it != listeners_.end();) {
    it = it->second.get() == listener ? listeners_.erase(it) : std::next(it);
  }
}

absl::Status LoopbackNetwork::Offer(absl::string_view address, std::unique_ptr<PendingConnection> pending) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto it = listeners_.find(address);
  if (it == listeners_.end()) {
    return NobodyListens(
        absl::UnavailableError(absl::StrCat("loopback: connect to '", address, "': nobody listens there")));
  }
  return it->second->Offer(it->first, std::move(pending));
}

}  // namespace mcp::internal
