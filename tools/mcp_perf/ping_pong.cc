#include "tools/mcp_perf/ping_pong.h"

#include <sched.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/host.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/pattern.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

// Turns of a spin between two looks at whether there is still anything to wait for.
constexpr uint32_t kLookEvery = 64;
// Turns, of 0.1 to 0.3 us, that a spin takes before it lets others run: where something else wants this CPU, the answer
// waits for that too, and a spinner that never yields would keep it away for whole time slices. An idle CPU comes back
// from a yield at once.
constexpr uint32_t kTurnsAlone = 128;
// What a device puts here by itself is in memory without another turn of the engine: so many looks at it, for each
// turn.
constexpr int kLooksPerTurn = 512;
constexpr int64_t kStallNs = int64_t{60} * 1'000'000'000;
constexpr std::chrono::microseconds kWait{1000};
constexpr uint64_t kAnyTag = 0;

}  // namespace

PingPong::PingPong(DataPath* path, const RemoteRegion& peer, ControlChannel* control)
    : path_(path),
      peer_(peer),
      control_(control),
      operation_(path->spec().test.operation),
      looks_(operation_ == Operation::kPut && path->transport() == "verbs" && !path->spec().checksum ? kLooksPerTurn
                                                                                                     : 1),
      spin_(CpuCount() > 1) {}

PingPong::~PingPong() {
  while (in_flight_ != 0) path_->engine().Progress();
}

// `leading`: the answer is under way, so the wait is bounded. Otherwise it is for the client to go on, and the wait
// ends when it says something else.
template <typename Ready>
absl::Status PingPong::SpinUntil(Ready ready, bool leading) {
  Engine& engine = path_->engine();
  int64_t started_ns = 0;
  for (uint32_t turn = 1;; ++turn) {
    engine.Progress();
    if (!error_.ok()) return error_;
    for (int look = 0; look < looks_; ++look) {
      if (ready()) return absl::OkStatus();
    }
    if (!spin_) {
      engine.Wait(kWait);
    } else if (turn > kTurnsAlone) {
      sched_yield();
    }
    if (turn % kLookEvery != 0) continue;
    if (Interrupted()) return absl::CancelledError("interrupted");
    if (!control_->alive()) return absl::UnavailableError("the peer left");
    MCP_PERF_RETURN_IF_ERROR(path_->session().status());
    if (!leading) {
      if (ready()) return absl::OkStatus();
      if (control_->has_message()) return absl::AbortedError("the client ended the window early");
      continue;
    }
    const int64_t now_ns = NowNs();
    if (started_ns == 0) started_ns = now_ns;
    if (now_ns > started_ns + kStallNs) {
      return absl::DeadlineExceededError(absl::StrCat("no answer in ", kStallNs / 1'000'000'000, " s"));
    }
  }
}

absl::Status PingPong::Begin(uint64_t generation, uint64_t count) {
  generation_ = generation;
  count_ = count;
  posted_ = completed_ = received_ = 0;
  if (operation_ != Operation::kSend) return absl::OkStatus();
  for (uint64_t index = 0; index < count; ++index) {
    const auto posted = path_->session().Receive(kAnyTag, path_->SlotSlice(index),
                                                 [this](Result result) { OnReceived(result); }, {.tag_mask = 0});
    MCP_PERF_RETURN_IF_ERROR(posted.status());
    ++in_flight_;
  }
  return absl::OkStatus();
}

// One look at the clock ends a round trip and begins the next. It comes, as does all else that can wait, while that is
// under way: a round trip is counted from where one operation was posted to where the next one was.
absl::StatusOr<int64_t> PingPong::Lead(Histogram& latency) {
  // put_lat and send_lat report half the round trip.
  const int64_t parts = operation_ == Operation::kGet ? 1 : 2;
  const int64_t first_ns = NowNs();
  if (count_ > 0) MCP_PERF_RETURN_IF_ERROR(Post(EndsOf(0)));
  int64_t start_ns = NowNs();
  for (uint64_t index = 0; index < count_; ++index) {
    const Ends next = EndsOf(index + 1);
    MCP_PERF_RETURN_IF_ERROR(Await(index, true));
    if (index + 1 < count_) MCP_PERF_RETURN_IF_ERROR(Post(next));
    const int64_t now_ns = NowNs();
    latency.Record((now_ns - start_ns) / parts);
    start_ns = now_ns;
  }
  MCP_PERF_RETURN_IF_ERROR(SpinUntil([this] { return completed_ == posted_; }, true));
  return start_ns - first_ns;
}

absl::Status PingPong::Follow() {
  if (operation_ == Operation::kGet) {
    return SpinUntil([this] { return control_->has_message(); }, false);
  }
  for (uint64_t index = 0; index < count_; ++index) {
    const Ends answer = EndsOf(index);
    MCP_PERF_RETURN_IF_ERROR(Await(index, false));
    MCP_PERF_RETURN_IF_ERROR(Post(answer));
  }
  // The client may end the window before the acknowledgement of the last answer is here.
  return SpinUntil([this] { return completed_ == posted_; }, true);
}

PingPong::Ends PingPong::EndsOf(uint64_t index) const {
  const uint64_t operation = path_->OperationNumber(generation_, index);
  const Layout& layout = path_->layout();
  switch (operation_) {
    case Operation::kPut:
      return {path_->SourceSlice(operation % layout.phases), layout.SlotOffset(index)};
    case Operation::kGet:
      return {path_->SlotSlice(index), layout.SourceOffset(operation)};
    case Operation::kSend:
      return {path_->SourceSlice(operation % layout.phases), operation};
  }
  return {};
}

absl::Status PingPong::Post(const Ends& ends) {
  auto done = [this](Result result) { OnPosted(result); };
  Session& session = path_->session();
  absl::StatusOr<OperationId> posted;
  do {
    switch (operation_) {
      case Operation::kPut:
        posted = session.Put(ends.here, peer_, ends.there, done);
        break;
      case Operation::kGet:
        posted = session.Get(ends.here, peer_, ends.there, done);
        break;
      case Operation::kSend:
        posted = session.Send(ends.there, ends.here, done);
        break;
    }
    if (!absl::IsResourceExhausted(posted.status())) break;
    path_->engine().Progress();
  } while (control_->alive() && !Interrupted());
  MCP_PERF_RETURN_IF_ERROR(posted.status());
  ++posted_;
  ++in_flight_;
  return absl::OkStatus();
}

absl::Status PingPong::Await(uint64_t index, bool leading) {
  switch (operation_) {
    case Operation::kPut: {
      const std::byte* const due = path_->Due(path_->OperationNumber(generation_, index));
      const LastBytes last(path_->SlotData(index), due, path_->layout().size);
      return SpinUntil([&last] { return last.Arrived(); }, leading);
    }
    case Operation::kGet:
      return SpinUntil([this, index] { return completed_ > index; }, leading);
    case Operation::kSend:
      return SpinUntil([this, index] { return received_ > index; }, leading);
  }
  return absl::OkStatus();
}

void PingPong::OnPosted(const Result& result) {
  --in_flight_;
  ++completed_;
  if (!result.status.ok() && error_.ok()) error_ = result.status;
}

void PingPong::OnReceived(const Result& result) {
  --in_flight_;
  if (!result.status.ok()) {
    if (error_.ok()) error_ = result.status;
    return;
  }
  // One message at a time: message n of the window has matched receive n.
  const uint64_t due = path_->OperationNumber(generation_, received_);
  if (error_.ok() && (result.tag != due || result.bytes != path_->layout().size)) {
    error_ = absl::DataLossError(absl::StrCat("a message of ", result.bytes, " bytes with tag ", result.tag, " where ",
                                              path_->layout().size, " bytes with tag ", due, " were due"));
  }
  ++received_;
}

}  // namespace mcp::perf
