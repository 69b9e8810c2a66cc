#include "transports/tcp/network.h"

#include <netinet/in.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"
#include "transports/tcp/reactor.h"
#include "transports/tcp/socket_options.h"

namespace mcp::internal {
namespace {

constexpr size_t kFallbacksMax = 64;

std::string ReadLine(const char* path) {
  char text[256] = {};
  FILE* file = fopen(path, "re");
  if (file == nullptr) return "";
  const size_t bytes = fread(text, 1, sizeof(text) - 1, file);
  fclose(file);
  return std::string(absl::StripSuffix(absl::string_view(text, bytes), "\n"));
}

}  // namespace

TcpNetworkImpl::TcpNetworkImpl(const TcpConfig& config, Logger* logger)
    : config_(config), logger_(logger), random_(Random::FromEntropy()) {}

absl::Status TcpNetworkImpl::Initialize() {
  boot_id_ = ReadLine("/proc/sys/kernel/random/boot_id");
  MCP_RETURN_IF_ERROR(ChooseIo());
  return ChooseCongestionControl();
}

absl::Status TcpNetworkImpl::ChooseIo() {
  if (config_.io == TcpConfig::Io::kEpoll) return absl::OkStatus();
  const absl::Status status = ProbeUring();
  uses_io_uring_ = status.ok();
  if (status.ok()) return status;
  if (config_.io == TcpConfig::Io::kIoUring) {
    return absl::Status(status.code(), absl::StrCat("tcp: io_uring was asked for: ", status.message()));
  }
  AddFallback("io_uring", "epoll", status.message());
  return absl::OkStatus();
}

absl::Status TcpNetworkImpl::ChooseCongestionControl() {
  MCP_ASSIGN_OR_RETURN(const Descriptor socket, MakeSocket(AF_INET, ""));
  system_congestion_control_ = CongestionControl(socket.get());
  if (!config_.congestion_control.empty()) {
    const int error = SetCongestionControl(socket.get(), config_.congestion_control);
    early_congestion_control_ = config_.congestion_control;
    if (error == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("tcp: congestion_control ", config_.congestion_control, ": ",
                                                   ErrnoText(error), " (net.ipv4.tcp_available_congestion_control: ",
                                                   ReadLine("/proc/sys/net/ipv4/tcp_available_congestion_control"),
                                                   "; net.ipv4.tcp_allowed_congestion_control: ",
                                                   ReadLine("/proc/sys/net/ipv4/tcp_allowed_congestion_control"), ")"));
  }
  std::string refusals;
  for (const char* name : {"cubic", "reno"}) {
    const int error = system_congestion_control_ == name ? 0 : SetCongestionControl(socket.get(), name);
    if (error == 0) {
      early_congestion_control_ = name;
      return absl::OkStatus();
    }
    absl::StrAppend(&refusals, refusals.empty() ? "" : ", ", name, ": ", ErrnoText(error));
  }
  AddFallback("congestion control cubic or reno on this host", system_congestion_control_, refusals);
  return absl::OkStatus();
}

std::vector<TcpFallback> TcpNetworkImpl::Fallbacks() const {
  const std::lock_guard lock(mutex_);
  return fallbacks_;
}

void TcpNetworkImpl::AddFallback(absl::string_view wanted, absl::string_view used, absl::string_view reason) {
  {
    const std::lock_guard lock(mutex_);
    for (const TcpFallback& known : fallbacks_) {
      if (known.wanted == wanted && known.used == used && known.reason == reason) return;
    }
    if (fallbacks_.size() == kFallbacksMax) return;
    fallbacks_.push_back({std::string(wanted), std::string(used), std::string(reason)});
  }
  logger_->LogOnce(LogLevel::kWarning, "tcp: ", used, " in place of ", wanted, ": ", reason);
}

uint64_t TcpNetworkImpl::RandomToken() {
  const std::lock_guard lock(mutex_);
  return random_.Next();
}

uint64_t TcpNetworkImpl::HostTag(uint64_t token) const {
  if (boot_id_.empty()) return 0;
  std::byte bytes[8 + 64] = {};
  StoreLittleEndian<uint64_t>(bytes, token);
  std::memcpy(bytes + 8, boot_id_.data(), std::min<size_t>(boot_id_.size(), 64));
  const uint64_t tag = Checksum(bytes, sizeof(bytes));
  return tag == 0 ? 1 : tag;
}

std::string TcpNetworkImpl::SettleCongestionControl(int fd, bool same_host) const {
  const std::string name = CongestionControl(fd);
  if (!config_.congestion_control.empty()) return absl::StrCat("congestion control ", name, ": by option");
  if (same_host) return absl::StrCat("congestion control ", name, ": both ends are on one host");
  // A route may have set its own, which stays.
  if (name != early_congestion_control_ || name == system_congestion_control_) {
    return absl::StrCat("congestion control ", name, ": the system's or the route's");
  }
  const int error = SetCongestionControl(fd, system_congestion_control_);
  if (error == 0) return absl::StrCat("congestion control ", system_congestion_control_, ": the system's own");
  return absl::StrCat("congestion control ", name, ": the system's ", system_congestion_control_,
                      " could not be set: ", ErrnoText(error));
}

absl::StatusOr<std::shared_ptr<TcpNetwork>> CreateTcpNetwork(const TcpConfig& config, Logger* logger) {
  auto network = std::make_shared<TcpNetworkImpl>(config, logger);
  MCP_RETURN_IF_ERROR(network->Initialize());
  return std::shared_ptr<TcpNetwork>(std::move(network));
}

}  // namespace mcp::internal
