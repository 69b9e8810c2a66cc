#include "tools/mcp_info/check.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/mcp_info/choice.h"
#include "tools/mcp_info/network_probe.h"
#include "tools/mcp_info/peer_probe.h"

namespace mcp::info {
namespace {

constexpr std::chrono::milliseconds kTcpTimeout{5000};
constexpr std::chrono::milliseconds kRdmaTimeout{2000};

Step Passed(std::string name, std::string detail) {
  return {std::move(name), Step::Outcome::kPassed, std::move(detail), ""};
}
Step Failed(std::string name, std::string detail, std::string cause) {
  return {std::move(name), Step::Outcome::kFailed, std::move(detail), std::move(cause)};
}
Step Skipped(std::string name, std::string detail) {
  return {std::move(name), Step::Outcome::kSkipped, std::move(detail), ""};
}

class Check {
 public:
  Check(const Options& options, const Facts& facts) : options_(options), facts_(facts) {}

  Step ResolveName() {
    absl::StatusOr<std::vector<Endpoint>> found = Resolve(options_.host, options_.port);
    if (!found.ok()) {
      return Failed("resolve", absl::StrCat(options_.host, ": ", found.status().message()),
                    "a misspelt name, or a resolver that can't be reached: try the address itself, then getent ahosts");
    }
    endpoints_ = *std::move(found);
    std::vector<std::string> texts;
    for (const Endpoint& endpoint : endpoints_) texts.push_back(endpoint.text());
    return Passed("resolve", absl::StrCat(options_.host, " is ", absl::StrJoin(texts, ", ")));
  }

  // Leaves the endpoints to which there is a route, in their order.
  Step FindRoute() {
    std::vector<Endpoint> routed;
    std::string reason;
    for (const Endpoint& endpoint : endpoints_) {
      const absl::StatusOr<std::string> source = SourceOf(endpoint);
      if (source.ok()) {
        if (routed.empty()) source_ = *source;
        routed.push_back(endpoint);
      } else if (reason.empty()) {
        reason = absl::StrCat(endpoint.text(), ": ", source.status().message());
      }
    }
    endpoints_ = std::move(routed);
    if (endpoints_.empty()) {
      return Failed("route", reason,
                    "no interface is up in that network and no default route leads there: see ip route");
    }
    return Passed("route", RouteText());
  }

  Step ConnectTcp() {
    std::string reason;
    absl::StatusCode code = absl::StatusCode::kUnknown;
    for (const Endpoint& endpoint : endpoints_) {
      const absl::Status status = TryTcp(endpoint, kTcpTimeout);
      if (status.ok()) {
        target_ = endpoint;
        const absl::StatusOr<std::string> source = SourceOf(endpoint);
        if (source.ok()) source_ = *source;
        return Passed("tcp", absl::StrCat("port ", options_.port, " of ", endpoint.text(), " takes connections"));
      }
      if (reason.empty()) {
        reason = absl::StrCat(endpoint.text(), " port ", options_.port, ": ", status.message());
        code = status.code();
      }
    }
    return Failed("tcp", reason, TcpCause(code));
  }

  Step Handshake() {
    const absl::Status status = peer_.Connect(options_.host, options_.port);
    if (status.ok()) return Passed("mcp", "the handshake of mcp is answered");
    return Failed("mcp", std::string(status.message()),
                  "something else listens on that port, or the two versions of mcp differ too much");
  }

  Step AskServer() {
    const absl::StatusOr<std::string> who = peer_.Hello();
    if (who.ok()) return Passed("server", *who);
    return Failed("server", std::string(who.status().message()),
                  "what listens speaks mcp but is no mcp-perf server of this version, or it hangs");
  }

  Step ResolveRdmaAddress() {
    if (options_.transport == "tcp") return Skipped("rdma", "--transport tcp was asked for");
    const Choice choice = Choose(facts_, source_, target_.text());
    const bool required = options_.transport == "verbs";
    if (choice.transport != "verbs") {
      if (!required) return Skipped("rdma", choice.reason);
      return Failed("rdma", choice.reason,
                    "this host has no RDMA path to start with: mcp-info alone lists what is missing");
    }
    const absl::StatusOr<RdmaRoute> route = ResolveRdma(target_, kRdmaTimeout);
    if (route.ok()) {
      return Passed("rdma", absl::StrCat(route->device, "/", route->port, " leads to ", target_.text()));
    }
    if (route.status().code() == absl::StatusCode::kUnimplemented) {
      return Skipped("rdma", std::string(route.status().message()));
    }
    const std::string text = std::string(route.status().message());
    if (!required) return Skipped("rdma", absl::StrCat(text, "; TCP is used in its place"));
    return Failed(
        "rdma", text,
        "the peer does not answer address resolution, or rdma_ucm is not loaded: see rdma link and ip neighbour");
  }

  Step Transfer(std::string& transport) {
    if (peer_.busy()) return Skipped("transfer", "the server serves another client at the moment");
    const absl::StatusOr<TransferFacts> moved = peer_.Transfer(options_);
    if (moved.ok()) {
      transport = moved->transport;
      return Passed("transfer", moved->text);
    }
    const std::string text = std::string(moved.status().message());
    return Failed(
        "transfer", text,
        "a firewall that lets only some ports through (data has a port of its own), RDMA traffic that is dropped "
        "on the way (UDP port 4791), or a path MTU that is smaller than both ends think");
  }

 private:
  std::string RouteText() const {
    for (const Interface& interface : facts_.interfaces) {
      if (std::find(interface.addresses.begin(), interface.addresses.end(), source_) != interface.addresses.end()) {
        return absl::StrCat("from ", source_, " by ", interface.name, ", MTU ", interface.mtu);
      }
    }
    return absl::StrCat("from ", source_);
  }

  static std::string TcpCause(absl::StatusCode code) {
    if (code == absl::StatusCode::kFailedPrecondition) {
      return "the host is there but nothing listens on that port: start mcp-perf there, or name its --port";
    }
    if (code == absl::StatusCode::kDeadlineExceeded) return "a firewall drops the packets, or the host is down";
    return "the host is down, or a router on the way refuses: try ping and traceroute";
  }

  const Options& options_;
  const Facts& facts_;
  std::vector<Endpoint> endpoints_;
  Endpoint target_;
  std::string source_;
  PeerProbe peer_;
};

}  // namespace

const char* OutcomeName(Step::Outcome outcome) {
  switch (outcome) {
    case Step::Outcome::kPassed:
      return "passed";
    case Step::Outcome::kFailed:
      return "failed";
    case Step::Outcome::kSkipped:
      return "skipped";
  }
  return "";
}

const Step* CheckReport::failed() const {
  const auto found =
      std::find_if(steps.begin(), steps.end(), [](const Step& step) { return step.outcome == Step::Outcome::kFailed; });
  return found == steps.end() ? nullptr : &*found;
}

CheckReport CheckPath(const Options& options, const Facts& facts, const std::function<void(const Step&)>& shown) {
  CheckReport report;
  report.host = options.host;
  report.port = options.port;
  Check check(options, facts);
  const std::function<Step()> steps[] = {[&] { return check.ResolveName(); },
                                         [&] { return check.FindRoute(); },
                                         [&] { return check.ConnectTcp(); },
                                         [&] { return check.Handshake(); },
                                         [&] { return check.AskServer(); },
                                         [&] { return check.ResolveRdmaAddress(); },
                                         [&] { return check.Transfer(report.transport); }};
  for (const std::function<Step()>& step : steps) {
    report.steps.push_back(step());
    shown(report.steps.back());
    if (report.steps.back().outcome == Step::Outcome::kFailed) break;
  }
  return report;
}

}  // namespace mcp::info
