// Sessions of an engine: who connects, who is accepted, and the table of those that live.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/engine/engine_impl.h"

namespace mcp::internal {
namespace {

constexpr int kRailsByChoice = 2;
constexpr std::chrono::milliseconds kPeerTimeoutMin{100};

absl::Status CheckOptions(const SessionOptions& options) {
  if (options.rails < 0 || options.rails > kRailsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("SessionOptions::rails ", options.rails, " is not between 0 and ", kRailsMax));
  }
  if (options.outstanding_max == 0 || options.outstanding_max > kOutstandingMax) {
    return absl::InvalidArgumentError(absl::StrCat("SessionOptions::outstanding_max ", options.outstanding_max,
                                                   " is not between 1 and ", kOutstandingMax));
  }
  if (options.peer_timeout < kPeerTimeoutMin) {
    return absl::InvalidArgumentError(absl::StrCat("SessionOptions::peer_timeout ", options.peer_timeout.count(),
                                                   " ms is less than ", kPeerTimeoutMin.count()));
  }
  if (options.connect_timeout.count() <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("SessionOptions::connect_timeout ", options.connect_timeout.count(), " ms"));
  }
  if (options.operation_timeout.count() < 0 || options.idle_timeout.count() < 0 ||
      options.recovery_timeout.count() < 0) {
    return absl::InvalidArgumentError("SessionOptions: a timeout is negative");
  }
  return absl::OkStatus();
}

}  // namespace

void AddStatistics(const SessionStatistics& part, SessionStatistics* total) {
  total->operations_completed += part.operations_completed;
  total->operations_failed += part.operations_failed;
  total->payload_bytes_sent += part.payload_bytes_sent;
  total->payload_bytes_received += part.payload_bytes_received;
  total->wire_bytes_sent += part.wire_bytes_sent;
  total->retransmitted_tiles += part.retransmitted_tiles;
  total->checksum_failures += part.checksum_failures;
  total->path_retransmits += part.path_retransmits;
  total->reconnections += part.reconnections;
  total->memory_bytes += part.memory_bytes;
  total->eager_transfers += part.eager_transfers;
  total->announced_transfers += part.announced_transfers;
  total->bulk_transfers += part.bulk_transfers;
  total->stream_transfers += part.stream_transfers;
  total->protocol_switches += part.protocol_switches;
  total->protocol_probes += part.protocol_probes;
  total->hedged_messages += part.hedged_messages;
  total->hedges_won += part.hedges_won;
}

absl::Status EngineImpl::WithHint(const absl::Status& status) const {
  if (chosen_.empty() || status.code() != absl::StatusCode::kUnavailable) return status;
  absl::Status hinted(status.code(),
                      absl::StrCat(status.message(), " (the engine chose ", chosen_,
                                   "; EngineOptions::address makes the address decide, and transports names another)"));
  status.ForEachPayload(
      [&hinted](absl::string_view url, const absl::Cord& payload) { hinted.SetPayload(url, payload); });
  return hinted;
}

uint16_t EngineImpl::RailsFor(const SessionOptions& options) const {
  if (options.rails > 0) return static_cast<uint16_t>(options.rails);
  return static_cast<uint16_t>(std::min<size_t>(kRailsByChoice, lanes_.size()));
}

uint64_t EngineImpl::NewToken() {
  uint64_t token = 0;
  while (token == 0 || sessions_by_token_.contains(token)) token = random_.Next();
  return token;
}

std::shared_ptr<SessionImpl> EngineImpl::NewSession(const SessionOptions& options, uint64_t token, std::string peer) {
  const uint32_t home = next_lane_.fetch_add(1, std::memory_order_relaxed) % lane_count();
  auto session = std::make_shared<SessionImpl>(*this, options, home, RailsFor(options), token, std::move(peer));
  sessions_.emplace(session.get(), session);
  if (token != 0) sessions_by_token_.emplace(token, session.get());
  ++sessions_opened_;
  return session;
}

void EngineImpl::ConnectAsync(absl::string_view address, const SessionOptions& options,
                              SessionImpl::OpenCallback callback) {
  absl::Status refused = CheckOptions(options);
  absl::StatusOr<std::string> resolved;
  if (refused.ok()) {
    resolved = provider_->Resolve(address);
    refused = resolved.status();
  }
  if (!refused.ok()) {
    lanes_[0]->Run([callback = std::move(callback), refused]() mutable { std::move(callback)(refused); });
    return;
  }
  std::shared_ptr<SessionImpl> session;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    session = NewSession(options, 0, std::string(address));
  }
  session->Connect(*std::move(resolved),
                   [this, callback = std::move(callback)](absl::StatusOr<std::shared_ptr<SessionImpl>> made) mutable {
                     if (!made.ok()) made = WithHint(made.status());
                     std::move(callback)(std::move(made));
                   });
}

absl::StatusOr<std::shared_ptr<SessionImpl>> EngineImpl::Connect(absl::string_view address,
                                                                 const SessionOptions& options) {
  MCP_RETURN_IF_ERROR(MayWait("Connect"));
  std::promise<void> done;
  std::future<void> ended = done.get_future();
  absl::StatusOr<std::shared_ptr<SessionImpl>> outcome = absl::UnknownError("connecting");
  ConnectAsync(address, options,
               [&outcome, done = std::move(done)](absl::StatusOr<std::shared_ptr<SessionImpl>> session) mutable {
                 outcome = std::move(session);
                 done.set_value();
               });
  WaitFor(std::move(ended));
  return outcome;
}

// Listeners live on the first lane; what they accept is spread over all.
absl::StatusOr<std::string> EngineImpl::Listen(absl::string_view address, const SessionOptions& options,
                                               Engine::AcceptCallback callback) {
  MCP_RETURN_IF_ERROR(CheckOptions(options));
  MCP_RETURN_IF_ERROR(MayWait("Listen"));
  MCP_ASSIGN_OR_RETURN(const std::string resolved, provider_->Resolve(address));
  auto listening = std::make_shared<Listening>();
  listening->options = options;
  listening->callback = std::move(callback);
  absl::StatusOr<std::string> bound = absl::UnknownError("listening");
  RunAndWait(*lanes_[0], [&] {
    bound = lanes_[0]->transport().Listen(resolved);
    if (!bound.ok()) bound = WithHint(bound.status());
    if (!bound.ok()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    listening_.emplace(*bound, listening);
  });
  return bound;
}

void EngineImpl::StopListening(const std::string& address) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (listening_.erase(address) == 0) return;
  }
  if (Lane* lane = Lane::Current(); lane != nullptr) {
    lanes_[0]->Run([this, address] { lanes_[0]->transport().StopListening(address); });
    return;
  }
  RunAndWait(*lanes_[0], [this, &address] { lanes_[0]->transport().StopListening(address); });
}

void EngineImpl::OnIncoming(std::unique_ptr<PendingConnection> pending) {
  const absl::Status taken = Incoming(pending);
  if (taken.ok()) return;
  logger_->LogOnce(LogLevel::kWarning, "refused ", pending->remote_address(), ": ", taken.message());
  pending->Refuse(taken.message());
}

// On the listening lane. Takes `pending` only when it returns OK.
absl::Status EngineImpl::Incoming(std::unique_ptr<PendingConnection>& pending) {
  MCP_ASSIGN_OR_RETURN(const Hello hello, DecodeHello(pending->hello()));
  std::shared_ptr<Listening> listening;
  std::shared_ptr<SessionImpl> session;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = listening_.find(pending->listener_address());
    if (found == listening_.end()) return absl::UnavailableError("nobody listens there any more");
    listening = found->second;
    if (const auto known = sessions_by_token_.find(hello.session_token); known != sessions_by_token_.end()) {
      session = sessions_.at(known->second);
    }
  }
  if (hello.rail == 0 && hello.generation == 0) {
    if (hello.session_token != 0) {
      return absl::InvalidArgumentError(absl::StrCat("handshake: session_token ", hello.session_token, " for rail 0"));
    }
    AcceptSession(hello, std::move(listening), std::move(pending));
    return absl::OkStatus();
  }
  if (session == nullptr) return absl::NotFoundError(absl::StrCat("handshake: ", kRefusalNoSuchSession));
  if (hello.rail >= session->rail_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("handshake: rail ", hello.rail, " of a session with ", session->rail_count()));
  }
  if (hello.generation == 0) {
    return absl::InvalidArgumentError(absl::StrCat("handshake: generation 0 for rail ", hello.rail));
  }
  session->AcceptRail(hello, std::move(pending));
  return absl::OkStatus();
}

void EngineImpl::AcceptSession(const Hello& hello, std::shared_ptr<Listening> listening,
                               std::unique_ptr<PendingConnection> pending) {
  std::shared_ptr<SessionImpl> session;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    session = NewSession(listening->options, NewToken(), pending->remote_address());
  }
  session->Negotiate(hello);
  session->Accept(std::move(pending),
                  [listening = std::move(listening)](absl::StatusOr<std::shared_ptr<SessionImpl>> accepted) {
                    if (!accepted.ok()) return;
                    const std::lock_guard<std::mutex> lock(listening->mutex);
                    listening->callback(Session(*std::move(accepted)));
                  });
}

void EngineImpl::Reclaim(SessionImpl* session) {
  std::shared_ptr<SessionImpl> last;  // let go of outside the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  AddStatistics(session->Statistics(), &ended_sessions_);
  if (session->token() != 0) {
    const auto named = sessions_by_token_.find(session->token());
    if (named != sessions_by_token_.end() && named->second == session) sessions_by_token_.erase(named);
  }
  last = std::move(found->second);
  sessions_.erase(found);
}

}  // namespace mcp::internal
