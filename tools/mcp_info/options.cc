#include "tools/mcp_info/options.h"

#include <arpa/inet.h>

#include <array>
#include <sstream>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mcp/engine.h"
#include "tools/mcp_perf/options.h"

namespace mcp::info {
namespace {

bool IsAddress(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> address;
  return inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

// "HOST", "HOST:PORT", "::1", "[::1]", "[::1]:PORT". Returns what is wrong with it.
std::string SplitPeer(const std::string& peer, Options& options) {
  options.port = perf::kDefaultPort;
  std::string port;
  const size_t close = peer.find(']');
  if (!peer.empty() && peer.front() == '[' && close != std::string::npos) {
    options.host = peer.substr(1, close - 1);
    const std::string rest = peer.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return "what follows ] is no :PORT";
    if (!rest.empty()) port = rest.substr(1);
    if (!rest.empty() && port.empty()) return "the port is missing";
  } else if (const size_t colon = peer.find(':'); colon != std::string::npos && peer.rfind(':') == colon) {
    options.host = peer.substr(0, colon);
    port = peer.substr(colon + 1);
    if (port.empty()) return "the port is missing";
  } else {
    options.host = peer;
  }
  if (options.host.empty()) return "the host is missing";
  uint32_t number = options.port;
  if (!port.empty() && (!absl::SimpleAtoi(port, &number) || number < 1 || number > 65535)) {
    return absl::StrCat("port \"", port, "\" is outside 1 to 65535");
  }
  options.port = static_cast<uint16_t>(number);
  return "";
}

ParsedCommandLine Wrong(const std::string& what) {
  ParsedCommandLine parsed;
  parsed.exit_status = kExitUsage;
  parsed.error = absl::StrCat("mcp-info: ", what, " (mcp-info --help lists the options)\n");
  return parsed;
}

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, const char* const* argv) {
  Options options;
  std::vector<std::string> between;
  std::string peer;
  std::string transport;
  CLI::App app("What this host has for mcp, and whether a path to a peer works.", "mcp-info");
  app.set_version_flag("--version", std::string(Version()));
  app.add_flag("--json", options.json, "for programs: schema mcp-info/1 (tools/mcp_info/README.md)");
  app.add_option("--between", between, "LOCAL REMOTE: what auto would choose between the two addresses, and why")
      ->expected(2);
  app.add_option("--check", peer, "HOST[:PORT]: try a path to a running mcp-perf server step by step [port 18515]");
  app.add_option("--transport", transport, "auto|verbs|tcp: for --check [auto]");
  app.footer("Exit status: 0 ok, 1 a check failed, 2 wrong usage.");
  ParsedCommandLine parsed;
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    std::ostringstream out, unused;
    app.exit(success, out, unused);
    parsed.out = out.str();
    return parsed;
  } catch (const CLI::Error& error) {
    return Wrong(error.what());
  }
  if (app.count("--between") > 0 && app.count("--check") > 0) return Wrong("--between and --check exclude each other");
  if (app.count("--transport") > 0 && app.count("--check") == 0) return Wrong("--transport is for --check alone");
  options.transport = transport.empty() ? "auto" : transport;
  if (options.transport != "auto" && options.transport != "verbs" && options.transport != "tcp") {
    return Wrong(absl::StrCat("--transport: \"", transport, "\" is not one of auto, verbs, tcp"));
  }
  for (const std::string& address : between) {
    if (!IsAddress(address)) return Wrong(absl::StrCat("--between: \"", address, "\" is not an IPv4 or IPv6 address"));
  }
  if (!between.empty()) {
    options.from = between[0];
    options.to = between[1];
  }
  if (app.count("--check") > 0) {
    const std::string wrong = SplitPeer(peer, options);
    if (!wrong.empty()) return Wrong(absl::StrCat("--check ", peer, ": ", wrong));
  }
  parsed.options = std::move(options);
  return parsed;
}

}  // namespace mcp::info
