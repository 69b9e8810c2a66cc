#include "tools/mcp_perf/control_channel.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/address.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

constexpr uint64_t kControlTag = 1;
// The protocol is question and answer: more unread messages than this are a fault of the peer.
constexpr size_t kInboxMax = 4;
constexpr std::chrono::microseconds kDriveSlice{200};
constexpr std::chrono::seconds kCloseTimeout{2};

}  // namespace

// Shared with the completions, which may outlive the channel by a moment.
struct ControlChannel::State : std::enable_shared_from_this<State> {
  std::mutex mutex;
  std::condition_variable changed;
  Session session;
  Region outgoing;
  Region incoming;
  std::deque<std::string> inbox;
  absl::Status ended;  // why nothing more will come
  int in_flight = 0;   // completions that have not run
  OperationId receive = 0;
  bool sending = false;
  bool closing = false;
  absl::Status sent;
  std::atomic<bool> alive{true};
  std::atomic<bool> has_message{false};

  // Under the mutex, because the destructor takes the session away. A completion never runs on this stack.
  absl::Status PostReceive() {
    const std::lock_guard lock(mutex);
    if (closing) return absl::CancelledError("the control session is closed");
    auto posted = session.Receive(kControlTag, incoming.All(), [state = shared_from_this()](Result result) {
      state->OnReceived(std::move(result));
    });
    if (!posted.ok()) return posted.status();
    ++in_flight;
    receive = *posted;
    return absl::OkStatus();
  }

  void OnReceived(Result result) {
    absl::Status status = std::move(result.status);
    if (status.ok()) {
      const std::lock_guard lock(mutex);
      if (inbox.size() == kInboxMax) {
        status = absl::InternalError(absl::StrCat("the peer sent more than ", kInboxMax, " control messages at once"));
      } else {
        inbox.emplace_back(reinterpret_cast<const char*>(incoming.data()), result.bytes);
        has_message.store(true, std::memory_order_release);
      }
    }
    if (status.ok()) status = PostReceive();
    if (!status.ok()) End(status);
    Finished();
  }

  absl::Status PostSend(const std::string& bytes) {
    const std::lock_guard lock(mutex);
    if (!ended.ok()) return ended;
    std::memcpy(outgoing.data(), bytes.data(), bytes.size());
    auto posted = session.Send(kControlTag, outgoing.Part(0, bytes.size()),
                               [state = shared_from_this()](Result result) { state->OnSent(std::move(result)); });
    if (!posted.ok()) return posted.status();
    ++in_flight;
    sending = true;
    return absl::OkStatus();
  }

  void OnSent(Result result) {
    {
      const std::lock_guard lock(mutex);
      sending = false;
      sent = std::move(result.status);
    }
    Finished();
  }

  void End(const absl::Status& status) {
    const std::lock_guard lock(mutex);
    if (ended.ok()) ended = status.ok() ? absl::UnavailableError("the session was closed") : status;
    alive.store(false, std::memory_order_release);
    changed.notify_all();
  }

  void Finished() {
    const std::lock_guard lock(mutex);
    --in_flight;
    changed.notify_all();
  }
};

ControlChannel::ControlChannel(std::shared_ptr<State> state, std::string peer)
    : state_(std::move(state)), peer_(std::move(peer)) {}

absl::StatusOr<std::unique_ptr<ControlChannel>> ControlChannel::Create(Engine* engine, Session session) {
  auto state = std::make_shared<State>();
  MCP_PERF_ASSIGN_OR_RETURN(state->outgoing, engine->Allocate(kControlBytesMax));
  MCP_PERF_ASSIGN_OR_RETURN(state->incoming, engine->Allocate(kControlBytesMax));
  std::string peer = session.Describe().peer;
  state->session = std::move(session);
  std::unique_ptr<ControlChannel> channel(new ControlChannel(state, std::move(peer)));
  MCP_PERF_RETURN_IF_ERROR(state->PostReceive());
  return channel;
}

ControlChannel::~ControlChannel() {
  std::unique_lock lock(state_->mutex);
  // In order, where the peer is still there: its side ends without an error. The receive would hold that up.
  const auto drained = [this] { return state_->in_flight == 0; };
  state_->closing = true;
  if (state_->ended.ok() && state_->receive != 0) {
    state_->session.Cancel(state_->receive).IgnoreError();
    state_->changed.wait_for(lock, kCloseTimeout, drained);
    ++state_->in_flight;
    state_->session.Close([state = state_](const Result&) { state->Finished(); });
    state_->changed.wait_for(lock, kCloseTimeout, drained);
  }
  Session session = std::move(state_->session);
  state_->session = Session();
  lock.unlock();
  session = Session();  // at once, for what is left
  lock.lock();
  state_->changed.wait(lock, drained);
}

void ControlChannel::Notice(const Json& message) {
  absl::StatusOr<std::string> bytes = EncodeMessage(message);
  if (bytes.ok()) state_->PostSend(*bytes).IgnoreError();
}

absl::Status ControlChannel::Send(const Json& message) {
  MCP_PERF_ASSIGN_OR_RETURN(const std::string bytes, EncodeMessage(message));
  {
    // A notice may still be on its way.
    std::unique_lock lock(state_->mutex);
    state_->changed.wait(lock, [this] { return !state_->sending; });
  }
  MCP_PERF_RETURN_IF_ERROR(state_->PostSend(bytes));
  // Not bounded here: the session's end completes it, and a silent peer ends the session.
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return !state_->sending; });
  return state_->sent;
}

absl::StatusOr<Json> ControlChannel::Receive(std::chrono::milliseconds timeout, Engine* driven) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::string bytes;
  for (;;) {
    if (driven != nullptr) driven->Progress();
    {
      std::unique_lock lock(state_->mutex);
      const auto ready = [this] { return !state_->inbox.empty() || !state_->ended.ok(); };
      if (driven == nullptr) state_->changed.wait_for(lock, kInterruptPoll, ready);
      if (!state_->inbox.empty()) {
        bytes = std::move(state_->inbox.front());
        state_->inbox.pop_front();
        state_->has_message.store(!state_->inbox.empty(), std::memory_order_release);
        break;
      }
      if (!state_->ended.ok()) return state_->ended;
    }
    if (Interrupted()) return absl::CancelledError("interrupted");
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(peer_, ": no control message in ", timeout.count(), " ms"));
    }
    if (driven != nullptr) driven->Wait(kDriveSlice);
  }
  return DecodeMessage(bytes);
}

absl::StatusOr<std::unique_ptr<ControlChannel>> ControlChannel::Connect(const std::string& host, uint16_t port,
                                                                        std::unique_ptr<Engine>* engine) {
  EngineOptions engine_options;
  engine_options.lanes = 1;
  engine_options.lane_spin = std::chrono::microseconds(0);
  engine_options.transports = {"tcp"};
  MCP_PERF_ASSIGN_OR_RETURN(*engine, Engine::Create(engine_options));
  SessionOptions options;
  options.rails = 1;
  MCP_PERF_ASSIGN_OR_RETURN(Session session, (*engine)->Connect(JoinAddress(host, port), options));
  return Create(engine->get(), std::move(session));
}

absl::StatusOr<Json> ControlChannel::Expect(const char* type, std::chrono::milliseconds timeout, Engine* driven) {
  MCP_PERF_ASSIGN_OR_RETURN(Json message, Receive(timeout, driven));
  MCP_PERF_RETURN_IF_ERROR(ExpectType(message, type));
  return message;
}

absl::StatusOr<Json> ControlChannel::Ask(const Json& question, const char* answer_type, Engine* driven) {
  MCP_PERF_RETURN_IF_ERROR(Send(question));
  return Expect(answer_type, kAnswerTimeout, driven);
}

bool ControlChannel::alive() const { return state_->alive.load(std::memory_order_acquire); }

bool ControlChannel::has_message() const { return state_->has_message.load(std::memory_order_acquire); }

}  // namespace mcp::perf
