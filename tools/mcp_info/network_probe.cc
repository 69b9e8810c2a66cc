#include "tools/mcp_info/network_probe.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace mcp::info {
namespace {

class Socket {
 public:
  Socket(int family, int type) : descriptor_(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}
  ~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

std::string ErrorText(int error) {
  return absl::StrCat(strerrorname_np(error) == nullptr ? "error" : strerrorname_np(error), " (", std::strerror(error),
                      ")");
}

absl::Status ErrorStatus(int error) {
  const std::string text = ErrorText(error);
  if (error == ECONNREFUSED) return absl::FailedPreconditionError(text);
  if (error == ETIMEDOUT) return absl::DeadlineExceededError(text);
  return absl::UnavailableError(text);
}

}  // namespace

std::string Endpoint::text() const {
  std::array<char, NI_MAXHOST> host{};
  if (getnameinfo(get(), length, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) return "?";
  return host.data();
}

absl::StatusOr<std::vector<Endpoint>> Resolve(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found);
  if (error != 0) return absl::NotFoundError(error == EAI_SYSTEM ? ErrorText(errno) : gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  std::vector<Endpoint> endpoints;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    Endpoint endpoint;
    std::memcpy(&endpoint.address, entry->ai_addr, entry->ai_addrlen);
    endpoint.length = entry->ai_addrlen;
    endpoints.push_back(endpoint);
  }
  return endpoints;
}

absl::StatusOr<std::string> SourceOf(const Endpoint& to) {
  // Connecting a datagram socket sends nothing: it asks the routing table.
  const Socket probe(to.address.ss_family, SOCK_DGRAM);
  if (probe.get() < 0 || connect(probe.get(), to.get(), to.length) != 0) {
    return absl::UnavailableError(ErrorText(errno));
  }
  Endpoint from;
  from.length = sizeof(from.address);
  if (getsockname(probe.get(), reinterpret_cast<sockaddr*>(&from.address), &from.length) != 0) {
    return absl::UnavailableError(ErrorText(errno));
  }
  return from.text();
}

absl::Status TryTcp(const Endpoint& to, std::chrono::milliseconds timeout) {
  const Socket probe(to.address.ss_family, SOCK_STREAM);
  if (probe.get() < 0) return ErrorStatus(errno);
  if (connect(probe.get(), to.get(), to.length) == 0) return absl::OkStatus();
  if (errno != EINPROGRESS) return ErrorStatus(errno);
  pollfd waiting = {probe.get(), POLLOUT, 0};
  const int ready = poll(&waiting, 1, static_cast<int>(timeout.count()));
  if (ready < 0) return ErrorStatus(errno);
  if (ready == 0) return absl::DeadlineExceededError(absl::StrCat("no answer in ", timeout.count(), " ms"));
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(probe.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  return error == 0 ? absl::OkStatus() : ErrorStatus(error);
}

}  // namespace mcp::info
