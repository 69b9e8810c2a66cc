#include "tools/mcp_perf/receive_loop.h"

#include <algorithm>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/interrupt.h"
#include "tools/mcp_perf/pattern.h"
#include "tools/mcp_perf/status_macros.h"

namespace mcp::perf {
namespace {

// All Sends of a window have completed at the client when the server awaits the last of them.
constexpr std::chrono::seconds kLastMessageTimeout{30};
// The client closes the session, or is found dead.
constexpr std::chrono::seconds kEndTimeout{10};
constexpr std::chrono::microseconds kPoll{100};
constexpr uint64_t kAnyTag = 0;

}  // namespace

ReceiveLoop::ReceiveLoop(DataPath* path)
    : path_(path),
      slots_per_chain_(std::max(uint64_t{1}, path->layout().slots / path->layout().receives)),
      stride_(path->layout().receives % path->layout().slots),
      chains_(path->layout().receives),
      tags_(path->spec().verify ? path->layout().slots : 0) {
  for (uint64_t index = 0; index < chains_.size(); ++index) {
    chains_[index].loop = this;
    chains_[index].index = index;
    chains_[index].slot = index % path->layout().slots;
  }
}

ReceiveLoop::~ReceiveLoop() {
  // Closing the session has cancelled them; nothing else can hold them up.
  while (in_flight_.load(std::memory_order_acquire) != 0) std::this_thread::sleep_for(kPoll);
}

void ReceiveLoop::AwaitEnd() {
  const auto deadline = std::chrono::steady_clock::now() + kEndTimeout;
  while (in_flight_.load(std::memory_order_acquire) != 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPoll);
  }
}

// Without verification there may be fewer slots than receives, and messages overwrite each other.
uint64_t ReceiveLoop::Slot(const Chain& chain, uint64_t completion) const {
  return (chain.index + chains_.size() * (completion % slots_per_chain_)) % path_->layout().slots;
}

// To the Slot of the next completion.
void ReceiveLoop::StepSlot(Chain* chain) const {
  const uint64_t slots = path_->layout().slots;
  if (++chain->turn == slots_per_chain_) {
    chain->turn = 0;
    chain->slot = chain->index % slots;
    return;
  }
  chain->slot += stride_;
  if (chain->slot >= slots) chain->slot -= slots;
}

absl::Status ReceiveLoop::Begin() {
  received_before_ = received();
  for (Chain& chain : chains_) {
    const uint64_t completed = chain.completed.load(std::memory_order_acquire);
    const bool armed = completed < chain.limit.load();
    chain.checked = completed;
    chain.limit.store(path_->spec().verify ? completed + slots_per_chain_ : std::numeric_limits<uint64_t>::max());
    if (armed) continue;
    in_flight_.fetch_add(1);
    Post(&chain);
  }
  return error();
}

// The chain is counted in in_flight_, for as long as it goes on: a receive that follows a receive counts nothing.
void ReceiveLoop::Post(Chain* chain) {
  const absl::StatusOr<OperationId> posted =
      path_->session().Receive(kAnyTag, path_->SlotSlice(chain->slot),
                               [chain](Result&& result) { chain->loop->OnReceived(chain, result); }, {.tag_mask = 0});
  if (posted.ok()) return;
  Fail(posted.status());
  in_flight_.fetch_sub(1, std::memory_order_release);
}

void ReceiveLoop::OnReceived(Chain* chain, const Result& result) {
  const Layout& layout = path_->layout();
  if (!result.status.ok() || result.bytes != layout.size) [[unlikely]] {
    Fail(!result.status.ok()
             ? result.status
             : absl::DataLossError(absl::StrCat("operation ", result.tag, ": a message of ", result.bytes,
                                                " bytes, and ", layout.size, " were sent")));
  } else {
    const uint64_t completed = chain->completed.load(std::memory_order_relaxed);
    if (!tags_.empty()) tags_[chain->slot] = result.tag;
    StepSlot(chain);
    // Read before the count is published: after that, Begin may raise the limit.
    const bool again = completed + 1 < chain->limit.load(std::memory_order_acquire);
    chain->completed.store(completed + 1, std::memory_order_release);
    if (again) return Post(chain);
  }
  in_flight_.fetch_sub(1, std::memory_order_release);
}

absl::Status ReceiveLoop::Await(uint64_t count, const ControlChannel& control) {
  const auto deadline = std::chrono::steady_clock::now() + kLastMessageTimeout;
  for (;;) {
    const uint64_t here = received() - received_before_;
    if (here == count) return absl::OkStatus();
    MCP_PERF_RETURN_IF_ERROR(error());
    if (here > count) return absl::DataLossError(absl::StrCat(here, " messages arrived, and ", count, " were sent"));
    if (!control.alive() || Interrupted()) return absl::CancelledError("the client left");
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DataLossError(absl::StrCat(here, " messages arrived, and ", count, " were sent"));
    }
    std::this_thread::sleep_for(kPoll);
  }
}

absl::StatusOr<uint64_t> ReceiveLoop::Check(uint64_t generation, uint64_t count) {
  if (!path_->spec().verify) return uint64_t{0};
  std::vector<bool> seen(count);
  for (const Chain& chain : chains_) {
    const uint64_t completed = chain.completed.load(std::memory_order_acquire);
    for (uint64_t completion = chain.checked; completion < completed; ++completion) {
      MCP_PERF_RETURN_IF_ERROR(CheckSlot(Slot(chain, completion), generation, count, seen));
    }
  }
  return count * path_->layout().size;
}

absl::Status ReceiveLoop::CheckSlot(uint64_t slot, uint64_t generation, uint64_t count, std::vector<bool>& seen) {
  const uint64_t operation = tags_[slot];
  const uint64_t index = operation - path_->OperationNumber(generation, 0);
  if (index >= count || seen[index]) {
    return absl::DataLossError(absl::StrCat("slot ", slot, ": a message with tag ", operation, ", which was ",
                                            index >= count ? "not sent in this window" : "received before"));
  }
  seen[index] = true;
  // Which message comes here next is not known. The complement of this one catches a slot that is not written again.
  const std::byte* want = path_->Due(operation);
  const std::optional<Difference> difference = CheckAndArmSlot(path_->SlotData(slot), want, want, path_->layout().size);
  return difference ? path_->MismatchError(operation, slot, *difference) : absl::OkStatus();
}

void ReceiveLoop::Fail(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (error_.ok()) error_ = status;
}

absl::Status ReceiveLoop::error() {
  const std::lock_guard lock(mutex_);
  return error_;
}

uint64_t ReceiveLoop::received() const {
  uint64_t sum = 0;
  for (const Chain& chain : chains_) sum += chain.completed.load(std::memory_order_acquire);
  return sum;
}

}  // namespace mcp::perf
