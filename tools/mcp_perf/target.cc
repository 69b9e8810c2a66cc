#include "tools/mcp_perf/target.h"

#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/pattern.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

// Between two control messages while nothing is measured.
constexpr std::chrono::seconds kIdleTimeout{120};
// A window lasts for as long as the client was told to; its death is seen on the control session.
constexpr std::chrono::hours kWindowTimeout{48};
constexpr std::chrono::seconds kAcceptTimeout{10};
constexpr uint64_t kGenerationMax = uint64_t{1} << 40;

}  // namespace

struct Target::Accepted {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Session> session;
};

absl::StatusOr<std::unique_ptr<Target>> Target::Create(const TestSpec& spec, const std::string& bind, uint16_t port,
                                                       ControlChannel* control, const VerbsOptions& verbs) {
  MCP_PERF_ASSIGN_OR_RETURN(std::unique_ptr<DataPath> path, DataPath::Create(spec, spec.test.server_receives(), verbs));
  std::unique_ptr<Target> target(new Target(std::move(path), control));
  target->accepted_ = std::make_shared<Accepted>();
  // The first session is the client's; others are refused by being dropped.
  const auto accept = [accepted = target->accepted_](Session session) {
    const std::lock_guard lock(accepted->mutex);
    if (!accepted->session) accepted->session = std::move(session);
    accepted->changed.notify_all();
  };
  DataPath& made = *target->path_;
  absl::StatusOr<Listening> listening = ListenOn(made.engine(), bind, port, made.session_options(), accept);
  if (!listening.ok() && port != 0) listening = ListenOn(made.engine(), bind, 0, made.session_options(), accept);
  if (!listening.ok()) return listening.status();
  target->listening_ = *std::move(listening);
  return target;
}

Target::~Target() {
  if (receive_loop_) receive_loop_->AwaitEnd();
  path_->CloseSession();
  receive_loop_.reset();
  ping_pong_.reset();
  // A session that was accepted and never used goes before its engine.
  listening_.listeners.clear();
  const std::lock_guard lock(accepted_->mutex);
  accepted_->session.reset();
}

absl::Status Target::Serve() {
  absl::StatusOr<Json> answer = Prepared();
  for (;;) {
    if (!answer.ok()) return control_->Send(ErrorMessage(answer.status()));
    MCP_PERF_RETURN_IF_ERROR(control_->Send(*answer));
    const bool window = MessageType(*answer) == "begun";
    if (window && ping_pong_) followed_ = ping_pong_->Follow();
    MCP_PERF_ASSIGN_OR_RETURN(const Json message,
                              control_->Receive(window ? kWindowTimeout : kIdleTimeout, path_->driven()));
    const std::string type = MessageType(message);
    if (type == "finish") return control_->Send({{"type", "finished"}});
    if (type == "connected" && !path_->session().valid()) {
      answer = Connected(message);
    } else if (type == "begin" && path_->session().valid() && !window) {
      answer = Begin(message);
    } else if (type == "end" && window) {
      answer = End(message);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("control message \"", type, "\" is out of order"));
    }
  }
}

absl::StatusOr<Json> Target::Prepared() const {
  Json message = {{"type", "prepared"}, {"port", listening_.port}, {"transport", path_->transport()}};
  MCP_PERF_ASSIGN_OR_RETURN(const RemoteRegion source, path_->source().Export());
  message["source"] = EncodeRegion(source);
  if (path_->ring().valid()) {
    MCP_PERF_ASSIGN_OR_RETURN(const RemoteRegion ring, path_->ring().Export());
    message["ring"] = EncodeRegion(ring);
  }
  return message;
}

absl::StatusOr<Json> Target::Connected(const Json& message) {
  MCP_PERF_RETURN_IF_ERROR(AwaitSession());
  const TestSpec& spec = path_->spec();
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t digest,
                            UintField(message, "digest", 0, std::numeric_limits<uint64_t>::max()));
  const uint64_t here = Digest(path_->source().data(), path_->layout().source_bytes());
  if (digest != here) {
    return absl::DataLossError(
        absl::StrCat(spec.test.name, ": the source pattern arrived with digest ", here, ", and ", digest, " was sent"));
  }
  RemoteRegion peer;
  if (spec.test.latency && spec.test.operation == Operation::kPut) {
    MCP_PERF_ASSIGN_OR_RETURN(peer, RegionField(message, "ring"));
  }
  path_->ArmRing();
  if (spec.test.latency) {
    ping_pong_ = std::make_unique<PingPong>(path_.get(), peer, control_);
  } else if (spec.test.operation == Operation::kSend) {
    receive_loop_ = std::make_unique<ReceiveLoop>(path_.get());
  }
  return EncodePath(path_->Describe());
}

absl::Status Target::AwaitSession() {
  const auto deadline = std::chrono::steady_clock::now() + kAcceptTimeout;
  for (;;) {
    if (Engine* driven = path_->driven(); driven != nullptr) driven->Progress();
    std::unique_lock lock(accepted_->mutex);
    if (path_->driven() == nullptr) {
      accepted_->changed.wait_for(lock, kInterruptPoll, [this] { return accepted_->session.has_value(); });
    }
    if (accepted_->session) {
      path_->set_session(*std::exchange(accepted_->session, Session()));
      return absl::OkStatus();
    }
    lock.unlock();
    if (Interrupted() || !control_->alive()) return absl::CancelledError("the client left");
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("no measured session on port ", listening_.port, " in ", kAcceptTimeout.count(), " s"));
    }
    if (Engine* driven = path_->driven(); driven != nullptr) driven->Wait(kInterruptPoll);
  }
}

absl::StatusOr<Json> Target::Begin(const Json& message) {
  MCP_PERF_ASSIGN_OR_RETURN(generation_, UintField(message, "generation", 0, kGenerationMax));
  const bool bounded = path_->spec().verify || path_->spec().test.latency;
  const uint64_t count_max = bounded ? path_->layout().slots : std::numeric_limits<uint64_t>::max();
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t count, UintField(message, "count", 1, count_max));
  if (receive_loop_) MCP_PERF_RETURN_IF_ERROR(receive_loop_->Begin());
  if (ping_pong_) MCP_PERF_RETURN_IF_ERROR(ping_pong_->Begin(generation_, count));
  before_ = path_->Counters();
  return Json{{"type", "begun"}};
}

absl::StatusOr<Json> Target::End(const Json& message) {
  const SideCounters counters = path_->Counters() - before_;
  MCP_PERF_ASSIGN_OR_RETURN(const uint64_t count, UintField(message, "count", 0, std::numeric_limits<uint64_t>::max()));
  MCP_PERF_RETURN_IF_ERROR(followed_);
  MCP_PERF_RETURN_IF_ERROR(path_->session().status());
  const TestSpec& spec = path_->spec();
  if (spec.verify && count > path_->layout().slots) {
    return absl::InvalidArgumentError(
        absl::StrCat("a window of ", count, " operations in ", path_->layout().slots, " slots"));
  }
  uint64_t verified_bytes = 0;
  if (receive_loop_) {
    MCP_PERF_RETURN_IF_ERROR(receive_loop_->Await(count, *control_));
    MCP_PERF_ASSIGN_OR_RETURN(verified_bytes, receive_loop_->Check(generation_, count));
  } else {
    MCP_PERF_ASSIGN_OR_RETURN(verified_bytes, path_->CheckWindow(generation_, count));
  }
  Json answer = {{"type", "ended"}, {"verified_bytes", verified_bytes}};
  EncodeCounters(counters, answer);
  return answer;
}

}  // namespace mcp::perf
