#include "lib/base/endpoint.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace mcp::internal {
namespace {

absl::Status Malformed(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("address \"", text, "\": ", why));
}

absl::StatusOr<uint16_t> ParsePort(absl::string_view text, absl::string_view digits) {
  uint32_t port = 0;
  const bool all_digits = std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
  if (!all_digits || !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return Malformed(text, absl::StrCat("port \"", digits, "\" is not a number from 0 to 65535"));
  }
  return static_cast<uint16_t>(port);
}

}  // namespace

absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text, std::optional<uint16_t> default_port) {
  absl::string_view host = text;
  absl::string_view rest;  // empty, or ":PORT"
  if (absl::StartsWith(text, "[")) {
    const size_t close = text.find(']');
    if (close == absl::string_view::npos) return Malformed(text, "the bracket is not closed");
    host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
    if (!absl::StrContains(host, ':')) return Malformed(text, "brackets are for IPv6 addresses");
    if (!rest.empty() && rest[0] != ':') return Malformed(text, "expected \":PORT\" after the bracket");
  } else if (const size_t colon = text.find(':'); colon != absl::string_view::npos) {
    host = text.substr(0, colon);
    rest = text.substr(colon);
    if (absl::StrContains(rest.substr(1), ':')) {
      return Malformed(text, "an IPv6 address is written in brackets, \"[::1]:18515\"");
    }
  }
  if (host.empty()) return Malformed(text, "the host is missing");
  if (rest.empty()) {
    if (!default_port) return Malformed(text, "the port is missing (expected \"HOST:PORT\")");
    return Endpoint{std::string(host), *default_port};
  }
  MCP_ASSIGN_OR_RETURN(const uint16_t port, ParsePort(text, rest.substr(1)));
  return Endpoint{std::string(host), port};
}

std::string FormatEndpoint(const Endpoint& endpoint) {
  const bool bracket = absl::StrContains(endpoint.host, ':');
  return absl::StrCat(bracket ? "[" : "", endpoint.host, bracket ? "]" : "", ":", endpoint.port);
}

}  // namespace mcp::internal
