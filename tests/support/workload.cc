#include "tests/support/workload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/wire/checksum.h"
#include "tests/support/pattern.h"

namespace mcp::internal {
namespace {

constexpr int kClient = 0;
constexpr int kServer = 1;
constexpr uint64_t kPrime = 0x100000001b3;  // FNV-1a

}  // namespace

Workload::Workload(EngineWorld* world, Operations* operations, Engine* client, Engine* server,
                   const WorkloadOptions& options)
    : world_(world),
      operations_(operations),
      engines_{client, server},
      options_(options),
      random_(options.seed),
      slots_(options.slots) {
  for (int side : {kClient, kServer}) {
    sides_[side].bytes.resize(options.slots * options.bytes_max);
    auto region = engines_[side]->Register(sides_[side].bytes.data(), sides_[side].bytes.size());
    EXPECT_TRUE(region.ok()) << region.status();
    sides_[side].region = *std::move(region);
    auto remote = sides_[side].region.Export();
    EXPECT_TRUE(remote.ok()) << remote.status();
    sides_[side].remote = *remote;
  }
}

Workload::~Workload() {
  ends_ = EngineWorld::Ends();
  EXPECT_TRUE(world_->Drive([this] { return operations_->open() == 0; }));
}

bool Workload::Run() {
  while (settled_ < options_.transfers) {
    if (session_over_) {
      if (sessions_ == options_.sessions_max) return true;
      if (!Connect()) return false;
    }
    const size_t settled_before = settled_;
    const bool moved = world_->Drive(
        [&] {
          Reap();
          if (!session_over_) Issue();
          return session_over_ || settled_ > settled_before;
        },
        options_.bound_ns);
    if (session_over_) {
      // Both ends of it go; what was in flight ends with them.
      last_end_ = ends_.client.status().ok() ? ends_.server.status() : ends_.client.status();
      ends_ = EngineWorld::Ends();
      const bool drained = world_->Drive(
          [&] {
            Reap();
            return !Busy();
          },
          options_.bound_ns);
      EXPECT_TRUE(drained) << "operations outlived their session";
      if (!drained) return false;
    } else if (!moved) {
      ADD_FAILURE() << "nothing ended within the bound, after " << Summary();
      return false;
    }
  }
  EXPECT_FALSE(Busy());
  CheckTargets();
  return true;
}

bool Workload::Connect() {
  ++sessions_;
  session_over_ = false;
  const bool connected = world_->Connect(engines_[kClient], engines_[kServer], options_.session, &ends_);
  EXPECT_TRUE(connected) << ends_.status;
  return connected;
}

uint64_t Workload::SizeOfNext() {
  switch (random_.Below(10)) {
    case 0:
      return random_.Below(options_.bytes_max + 1);
    case 1:
    case 2:
      return random_.Below(300'000);
    case 3:
    case 4:
    case 5:
      return random_.Below(10'000);
    default:
      return random_.Below(200);
  }
}

void Workload::Issue() {
  for (Slot& slot : slots_) {
    if (issued_ == options_.transfers || session_over_) return;
    if (slot.busy) continue;
    if (!IssueInto(&slot)) return;
  }
}

// False when the session takes no more for now, or at all.
bool Workload::IssueInto(Slot* slot) {
  slot->source = static_cast<int>(random_.Below(2));
  slot->size = std::min(SizeOfNext(), options_.bytes_max);
  slot->seed = random_.Next();
  slot->lives = false;
  slot->cancelled[0] = slot->cancelled[1] = false;
  slot->receive_owed = false;
  slot->cancel_in = random_.Unit() < options_.cancel_rate ? static_cast<int>(random_.Below(40)) : -1;
  FillPattern(BytesOf(*slot, slot->source), slot->seed);
  OperationOptions limit;
  if (random_.Unit() < options_.timeout_rate) limit.timeout = std::chrono::milliseconds(1 + random_.Below(20));
  const int target = 1 - slot->source;
  Session* source_session = slot->source == kClient ? &ends_.client : &ends_.server;
  Session* target_session = target == kClient ? &ends_.client : &ends_.server;
  const uint64_t offset = static_cast<uint64_t>(slot - slots_.data()) * options_.bytes_max;
  const uint64_t kind = random_.Below(3);
  slot->paired = kind == 2;
  Operations::Index index;
  if (kind == 0) {
    index = Begin(slot, 0, true, "put", source_session, [&](Completion completion) {
      return source_session->Put(SliceOf(*slot, slot->source), sides_[target].remote, offset, std::move(completion),
                                 limit);
    });
  } else if (kind == 1) {
    index = Begin(slot, 0, false, "get", target_session, [&](Completion completion) {
      return target_session->Get(SliceOf(*slot, target), sides_[slot->source].remote, offset, std::move(completion),
                                 limit);
    });
  } else {
    slot->tag = next_tag_++;
    slot->receive_owed = true;
    slot->receive_in = static_cast<int>(random_.Below(2) * random_.Below(30));
    index = Begin(slot, 0, true, absl::StrCat("send ", slot->tag), source_session, [&](Completion completion) {
      return source_session->Send(slot->tag, SliceOf(*slot, slot->source), std::move(completion), limit);
    });
  }
  const absl::Status accepted = operations_->at(index).accepted;
  if (accepted.ok()) {
    slot->busy = true;
    ++issued_;
    if (slot->paired && slot->receive_in == 0) PostReceive(slot);
    return true;
  }
  if (accepted.code() != absl::StatusCode::kResourceExhausted) session_over_ = true;
  return false;
}

Operations::Index Workload::Begin(Slot* slot, int which, bool lends, std::string what, Session* session,
                                  Operations::Call call) {
  slot->starters[which] = session;
  const size_t number = operations_->started();
  auto then = [this, slot, lends, number](const Result& result) {
    if (lends) Scribble(*slot);
    if (options_.trace_clock == nullptr) return;
    Trace(number);
    Trace(static_cast<uint64_t>(result.status.code()));
    Trace(result.bytes);
    Trace(static_cast<uint64_t>(options_.trace_clock->NowNs()));
  };
  slot->indices[which] =
      operations_->Start(absl::StrCat(what, " of ", slot->size, " by transfer ", issued_), call, std::move(then));
  return slot->indices[which];
}

// Whoever still reads what was lent is found out.
void Workload::Scribble(const Slot& slot) {
  const absl::Span<std::byte> source = BytesOf(slot, slot.source);
  std::fill(source.begin(), source.end(), std::byte{0xee});
}

void Workload::PostReceive(Slot* slot) {
  Session* session = slot->source == kClient ? &ends_.server : &ends_.client;
  const Operations::Index receive =
      Begin(slot, 1, false, absl::StrCat("receive ", slot->tag), session, [&](Completion completion) {
        return session->Receive(slot->tag, SliceOf(*slot, 1 - slot->source), std::move(completion));
      });
  const absl::Status accepted = operations_->at(receive).accepted;
  slot->receive_owed = !accepted.ok();  // back-pressure: at the next look
  if (!accepted.ok() && accepted.code() != absl::StatusCode::kResourceExhausted) session_over_ = true;
}

void Workload::Reap() {
  for (Slot& slot : slots_) {
    if (slot.busy && Look(&slot)) Settle(&slot);
  }
  if (!session_over_ && (!ends_.client.status().ok() || !ends_.server.status().ok())) session_over_ = true;
}

// Moves the transfer on; true when it has ended.
bool Workload::Look(Slot* slot) {
  if (slot->cancel_in >= 0 && slot->cancel_in-- == 0) CancelPart(slot, static_cast<int>(random_.Below(2)));
  const bool first_done = operations_->done(slot->indices[0]);
  if (!slot->paired) return first_done;
  if (slot->receive_owed) {
    // A send that failed leaves nothing to be received.
    if (first_done && (session_over_ || !operations_->status(slot->indices[0]).ok())) return true;
    if (!session_over_ && --slot->receive_in <= 0) PostReceive(slot);
    return false;
  }
  const bool second_done = operations_->done(slot->indices[1]);
  // Half of a pair that failed leaves the other half waiting for nothing.
  if (first_done && !second_done && !operations_->status(slot->indices[0]).ok()) CancelPart(slot, 1);
  if (second_done && !first_done && !operations_->status(slot->indices[1]).ok()) CancelPart(slot, 0);
  return first_done && second_done;
}

void Workload::CancelPart(Slot* slot, int which) {
  if (!slot->paired || slot->receive_owed) which = 0;
  if (slot->cancelled[which] || !slot->starters[which]->valid()) return;
  slot->cancelled[which] = true;
  (void)slot->starters[which]->Cancel(operations_->at(slot->indices[which]).id);
}

void Workload::Settle(Slot* slot) {
  slot->busy = false;
  ++settled_;
  // The target's side knows: the receive of a pair, else the operation itself.
  const bool received = slot->paired && !slot->receive_owed;
  const Operations::Outcome outcome = operations_->at(slot->indices[received ? 1 : 0]);
  ++codes_[outcome.result.status.code()];
  const int target = 1 - slot->source;
  if (outcome.result.status.ok() && received == slot->paired) {
    EXPECT_EQ(outcome.result.bytes, slot->size) << outcome.what;
    const std::string mismatch = PatternMismatch(BytesOf(*slot, target), slot->seed);
    EXPECT_EQ(mismatch, "") << outcome.what;
    slot->lives = mismatch.empty();
  }
  Scribble(*slot);
}

void Workload::CheckTargets() {
  for (const Slot& slot : slots_) {
    if (!slot.lives) continue;
    EXPECT_EQ(PatternMismatch(BytesOf(slot, 1 - slot.source), slot.seed), "")
        << operations_->at(slot.indices[0]).what << ": its bytes changed after it had completed";
  }
  for (const Side& side : sides_) Trace(Checksum(side.bytes.data(), side.bytes.size()));
}

bool Workload::Busy() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.busy; });
}

void Workload::Trace(uint64_t value) { trace_ = (trace_ ^ value) * kPrime; }

absl::Span<std::byte> Workload::BytesOf(const Slot& slot, int side) {
  const uint64_t offset = static_cast<uint64_t>(&slot - slots_.data()) * options_.bytes_max;
  return absl::MakeSpan(sides_[side].bytes).subspan(offset, slot.size);
}

Slice Workload::SliceOf(const Slot& slot, int side) const {
  const uint64_t offset = static_cast<uint64_t>(&slot - slots_.data()) * options_.bytes_max;
  return sides_[side].region.Part(offset, slot.size);
}

size_t Workload::count(absl::StatusCode code) const {
  const auto found = codes_.find(code);
  return found == codes_.end() ? 0 : found->second;
}

std::string Workload::Summary() const {
  std::string text;
  for (const auto& [code, count] : codes_) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", absl::StatusCodeToString(code), " ", count);
  }
  return absl::StrCat(text.empty() ? "nothing" : text, " in ", sessions_, " sessions");
}

}  // namespace mcp::internal
