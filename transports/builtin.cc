#include "transports/builtin.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "transports/loopback/loopback_network.h"
#include "transports/tcp/tcp_transport.h"
#ifdef MCP_WITH_VERBS
#include "transports/verbs/verbs_transport.h"
#endif

namespace mcp::internal {
namespace {

class TcpProvider final : public TransportProvider {
 public:
  explicit TcpProvider(std::shared_ptr<TcpNetwork> network) : network_(std::move(network)) {}

  absl::StatusOr<std::unique_ptr<Transport>> CreateTransport(RegionTable* regions, Clock* clock,
                                                             uint32_t lane) override {
    return CreateTcpTransport(network_, regions, clock, lane);
  }

  absl::StatusOr<std::string> Resolve(absl::string_view address) override {
    MCP_ASSIGN_OR_RETURN(const std::vector<std::string> addresses, ResolveTcpAddress(address));
    return addresses.front();
  }

  std::vector<TransportFallback> Fallbacks() const override {
    std::vector<TransportFallback> fallbacks;
    for (const TcpFallback& fallback : network_->Fallbacks()) {
      fallbacks.push_back({fallback.wanted, fallback.used, fallback.reason});
    }
    return fallbacks;
  }

 private:
  const std::shared_ptr<TcpNetwork> network_;
};

class LoopbackProvider final : public TransportProvider {
 public:
  absl::StatusOr<std::unique_ptr<Transport>> CreateTransport(RegionTable* regions, Clock* clock, uint32_t) override {
    return network_->CreateTransport(clock, regions);
  }
  absl::StatusOr<std::string> Resolve(absl::string_view address) override { return std::string(address); }
  std::vector<TransportFallback> Fallbacks() const override { return {}; }

 private:
  // Of this engine alone: two engines in one process do not meet.
  const std::shared_ptr<LoopbackNetwork> network_ = LoopbackNetwork::Create();
};

absl::StatusOr<std::unique_ptr<TransportProvider>> CreateTcp(const TcpOptions& options, bool polled, Logger* logger) {
  TcpConfig config;
  config.polled = polled;
  switch (options.io) {
    case TcpOptions::Io::kAuto:
      config.io = TcpConfig::Io::kAuto;
      break;
    case TcpOptions::Io::kIoUring:
      config.io = TcpConfig::Io::kIoUring;
      break;
    case TcpOptions::Io::kEpoll:
      config.io = TcpConfig::Io::kEpoll;
      break;
  }
  switch (options.zero_copy) {
    case TcpOptions::ZeroCopy::kAuto:
      config.zero_copy = TcpConfig::ZeroCopy::kAuto;
      break;
    case TcpOptions::ZeroCopy::kOff:
      config.zero_copy = TcpConfig::ZeroCopy::kOff;
      break;
    case TcpOptions::ZeroCopy::kOn:
      config.zero_copy = TcpConfig::ZeroCopy::kOn;
      break;
  }
  config.congestion_control = options.congestion_control;
  MCP_ASSIGN_OR_RETURN(std::shared_ptr<TcpNetwork> network, CreateTcpNetwork(config, logger));
  return std::make_unique<TcpProvider>(std::move(network));
}

#ifdef MCP_WITH_VERBS
class VerbsProvider final : public TransportProvider {
 public:
  explicit VerbsProvider(std::shared_ptr<VerbsNetwork> network) : network_(std::move(network)) {}

  absl::StatusOr<std::unique_ptr<Transport>> CreateTransport(RegionTable*, Clock* clock, uint32_t lane) override {
    return CreateVerbsTransport(network_, clock, lane);
  }
  absl::StatusOr<std::string> Resolve(absl::string_view address) override { return ResolveVerbsAddress(address); }
  std::vector<TransportFallback> Fallbacks() const override { return network_->Fallbacks(); }
  DeviceMemory* device_memory() override { return network_->memory(); }

 private:
  const std::shared_ptr<VerbsNetwork> network_;
};

absl::StatusOr<std::unique_ptr<TransportProvider>> CreateVerbs(const VerbsOptions& options, const std::string& address,
                                                               Logger* logger) {
  VerbsConfig config;
  config.devices = options.devices;
  config.gid_index = options.gid_index;
  config.protect_operations = options.protection == VerbsOptions::Protection::kOperation;
  MCP_ASSIGN_OR_RETURN(std::shared_ptr<VerbsNetwork> network, CreateVerbsNetwork(config, logger));
  if (!address.empty()) MCP_RETURN_IF_ERROR(network->CheckAddress(address));
  return std::make_unique<VerbsProvider>(std::move(network));
}
#else
absl::StatusOr<std::unique_ptr<TransportProvider>> CreateVerbs(const VerbsOptions&, const std::string&, Logger*) {
  return absl::UnavailableError("this build has no verbs transport: libibverbs and librdmacm were not there");
}
#endif

}  // namespace

absl::StatusOr<std::unique_ptr<TransportProvider>> CreateProvider(absl::string_view name, const EngineOptions& options,
                                                                  Logger* logger) {
  if (name == "tcp") return CreateTcp(options.tcp, options.lanes == 0, logger);
  if (name == "verbs") return CreateVerbs(options.verbs, options.address, logger);
  if (name == "loopback") return std::make_unique<LoopbackProvider>();
  return absl::InvalidArgumentError(absl::StrCat("EngineOptions::transports: this build has no transport '", name,
                                                 "', only verbs, tcp and loopback"));
}

}  // namespace mcp::internal
