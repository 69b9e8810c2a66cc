#include "tools/mcp_info/check.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/mcp_info/causes.h"
#include "tools/mcp_info/network_probe.h"
#include "tools/mcp_info/peer_probe.h"
#include "tools/mcp_perf/data_path.h"

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
      return Failed("route", reason, RouteCause(options_.host));
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
    const absl::Status status = peer_.Connect(target_.text(), options_.port);
    if (status.ok()) return Passed("mcp", "the handshake of mcp is answered");
    return Failed("mcp", std::string(status.message()), HandshakeCause(status.code()));
  }

  Step AskServer() {
    const absl::StatusOr<std::string> who = peer_.Hello();
    if (who.ok()) return Passed("server", *who);
    return Failed("server", std::string(who.status().message()), GreetingCause(who.status().code()));
  }

  Step ResolveRdmaAddress() {
    if (options_.transport == "tcp") return Skipped("rdma", "--transport tcp was asked for");
    // As the transfer asks: where auto takes verbs, it does not come back to TCP for what fails later.
    if (const absl::Status why_not = perf::WhyNotVerbs({}, target_.text()); !why_not.ok()) {
      const std::string text = std::string(why_not.message());
      if (options_.transport == "auto" && absl::IsUnavailable(why_not)) {
        return Skipped("rdma", absl::StrCat(text, "; TCP is used in its place"));
      }
      return Failed("rdma", text, "this host has no RDMA path to start with: mcp-info alone lists what is missing");
    }
    const absl::StatusOr<RdmaRoute> route = ResolveRdma(target_, kRdmaTimeout);
    if (route.ok()) {
      return Passed("rdma", absl::StrCat(route->device, "/", route->port, " leads to ", target_.text()));
    }
    if (route.status().code() == absl::StatusCode::kUnimplemented) {
      return Skipped("rdma", std::string(route.status().message()));
    }
    return Failed("rdma", std::string(route.status().message()),
                  "the peer does not answer address resolution, or the subnet manager (InfiniBand) has no path to it: "
                  "see rdma link and ip neighbour");
  }

  Step Transfer(std::string& transport) {
    const absl::StatusOr<TransferFacts> moved = peer_.Transfer(options_, target_.text());
    if (!moved.ok()) {
      const TransferFailure failure = {peer_.stage(), moved.status(), peer_.transport()};
      return Failed("transfer", std::string(moved.status().message()), TransferCause(failure));
    }
    transport = moved->transport;
    if (options_.transport != "auto" && transport != options_.transport) {
      return Failed("transfer", absl::StrCat(moved->text, ", and ", options_.transport, " was asked for"),
                    "the server is of another version, which falls back where it should refuse");
    }
    return Passed("transfer", moved->text);
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
