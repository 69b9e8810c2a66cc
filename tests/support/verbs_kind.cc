#include "tests/support/verbs_kind.h"

#include <optional>

#ifdef MCP_WITH_VERBS
#include "tests/support/fake_verbs.h"
#include "transports/verbs/network.h"

namespace mcp::internal {

std::string WhyNoVerbs(bool fake) {
  if (fake) return "";
  Logger quiet(LogLevel::kError, [](LogLevel, absl::string_view) {});
  const auto network = CreateVerbsNetwork({}, &quiet);
  return network.ok() ? "" : std::string(network.status().message());
}

std::string VerbsDeviceAddress(bool ipv6) {
  Logger quiet(LogLevel::kError, [](LogLevel, absl::string_view) {});
  const auto network = VerbsNetworkImpl::Create({}, &quiet, SystemVerbsCalls());
  if (!network.ok()) return "";
  for (const GidEntry& gid : (*network)->device(0).gids) {
    std::optional<VerbsAddress> address = AddressOfGid(gid);
    if (address.has_value() && (address->storage.ss_family == AF_INET6) == ipv6)
      return FormatVerbsAddress(address->raw());
  }
  return "";
}

std::shared_ptr<FakeFabric> MakeFakeFabric(uint8_t devices, uint8_t ports_each, const std::array<int, 2>& reads) {
  auto fabric = std::make_shared<FakeFabric>(FakeFabric::Kind::kChecked, devices, ports_each);
  for (size_t engine = 0; engine < reads.size(); ++engine) fabric->LimitReads(engine, reads[engine]);
  return fabric;
}
std::shared_ptr<FakeFabric> MakeNoCostFabric() { return std::make_shared<FakeFabric>(FakeFabric::Kind::kNoCost); }

absl::StatusOr<std::shared_ptr<VerbsNetwork>> MakeVerbsNetwork(const std::shared_ptr<FakeFabric>& fabric,
                                                               Logger* logger, const VerbsConfig& config) {
  if (fabric == nullptr) return CreateVerbsNetwork(config, logger);
  return VerbsNetworkImpl::Create(config, logger, FakeVerbsCalls(fabric));
}

absl::StatusOr<std::unique_ptr<Transport>> MakeVerbsTransport(const std::shared_ptr<VerbsNetwork>& network,
                                                              Clock* clock, uint32_t lane) {
  return CreateVerbsTransport(network, clock, lane);
}

}  // namespace mcp::internal

#else

namespace mcp::internal {

class FakeFabric {};

std::string WhyNoVerbs(bool) { return "this build has no verbs transport"; }
std::string VerbsDeviceAddress(bool) { return ""; }
std::shared_ptr<FakeFabric> MakeFakeFabric(uint8_t, uint8_t, const std::array<int, 2>&) { return nullptr; }
std::shared_ptr<FakeFabric> MakeNoCostFabric() { return nullptr; }
absl::StatusOr<std::shared_ptr<VerbsNetwork>> MakeVerbsNetwork(const std::shared_ptr<FakeFabric>&, Logger*,
                                                               const VerbsConfig&) {
  return absl::UnavailableError(WhyNoVerbs(false));
}
absl::StatusOr<std::unique_ptr<Transport>> MakeVerbsTransport(const std::shared_ptr<VerbsNetwork>&, Clock*, uint32_t) {
  return absl::UnavailableError(WhyNoVerbs(false));
}

}  // namespace mcp::internal

#endif
