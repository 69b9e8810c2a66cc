// What the transports of one engine share: the options, what was probed of the host, and the list of fallbacks.
//
// Thread rule: any thread.
#ifndef MCP_TRANSPORTS_TCP_NETWORK_H_
#define MCP_TRANSPORTS_TCP_NETWORK_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "transports/tcp/tcp_transport.h"

namespace mcp::internal {

class TcpNetworkImpl final : public TcpNetwork {
 public:
  TcpNetworkImpl(const TcpConfig& config, Logger* logger);

  // Probes the host. Once, before anything else.
  absl::Status Initialize();

  std::vector<TcpFallback> Fallbacks() const override;
  bool uses_io_uring() const override { return uses_io_uring_; }

  const TcpConfig& config() const { return config_; }
  Logger& logger() { return *logger_; }

  // Recorded and logged the first time.
  void AddFallback(absl::string_view wanted, absl::string_view used, absl::string_view reason);

  // For tokens: unguessable enough that nobody joins another's connection.
  uint64_t RandomToken();
  // Equal on one host for one token; 0 when the host does not say which it is.
  uint64_t HostTag(uint64_t token) const;

  // For sockets whose peer is not known yet: the option, or the one for peers on this host. A socket that has ever been
  // paced (BBR) stays slow, so connections begin with this and change to the system's own when the peer turns out to be
  // elsewhere. Empty: the system's own.
  const std::string& early_congestion_control() const { return early_congestion_control_; }
  // Once the peer is known, on each of its sockets. Returns the note for the connection's description.
  std::string SettleCongestionControl(int fd, bool same_host) const;

  // Sockets that were accepted and are no connection yet, over all lanes.
  std::atomic<uint32_t>& pending_sockets() { return pending_sockets_; }

 private:
  absl::Status ChooseIo();
  absl::Status ChooseCongestionControl();

  const TcpConfig config_;
  Logger* const logger_;
  bool uses_io_uring_ = false;
  std::string system_congestion_control_;
  std::string early_congestion_control_;
  std::string boot_id_;
  std::atomic<uint32_t> pending_sockets_{0};
  mutable std::mutex mutex_;  // guards what follows
  Random random_;
  std::vector<TcpFallback> fallbacks_;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_NETWORK_H_
