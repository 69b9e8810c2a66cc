#include "tools/mcp_perf/address.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {

std::string JoinAddress(absl::string_view host, uint16_t port) {
  const bool v6 = host.find(':') != absl::string_view::npos;
  return v6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<uint16_t> AddressPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("\"", address, "\" has no port"));
  }
  return static_cast<uint16_t>(port);
}

absl::StatusOr<Listening> ListenOn(Engine& engine, absl::string_view bind, uint16_t port, const SessionOptions& options,
                                   const std::function<void(Session)>& accept) {
  Listening listening;
  if (!bind.empty()) {
    MCP_PERF_ASSIGN_OR_RETURN(Listener listener, engine.Listen(JoinAddress(bind, port), options, accept));
    MCP_PERF_ASSIGN_OR_RETURN(listening.port, AddressPort(listener.address()));
    listening.listeners.push_back(std::move(listener));
    return listening;
  }
  // [::] takes IPv4 as well where the system says so, and then 0.0.0.0 is refused. A host may also lack IPv6.
  absl::StatusOr<Listener> v6 = engine.Listen(JoinAddress("::", port), options, accept);
  if (v6.ok()) {
    MCP_PERF_ASSIGN_OR_RETURN(port, AddressPort(v6->address()));
    listening.port = port;
    listening.listeners.push_back(*std::move(v6));
  }
  absl::StatusOr<Listener> v4 = engine.Listen(JoinAddress("0.0.0.0", port), options, accept);
  if (v4.ok()) {
    MCP_PERF_ASSIGN_OR_RETURN(listening.port, AddressPort(v4->address()));
    listening.listeners.push_back(*std::move(v4));
  }
  if (listening.listeners.empty()) return v4.status();
  return listening;
}

}  // namespace mcp::perf
