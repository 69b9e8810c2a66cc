#include "tests/process/witness.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/support/pattern.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kTag = 99;

absl::Span<std::byte> All(const Region& region) { return {region.data(), region.size()}; }

}  // namespace

Witness::Witness(EngineWorld* world, Engine* own, Engine* observed) : world_(world) {
  const absl::Status prepared = Prepare(own, observed);
  if (!prepared.ok()) {
    Note(prepared.ToString());
    return;
  }
  idle_ = false;
  StartRound();
}

absl::Status Witness::Prepare(Engine* own, Engine* observed) {
  if (own == nullptr || observed == nullptr) return absl::InternalError("no engine");
  if (!world_->Connect(own, observed, {}, &ends_)) return ends_.status;
  for (const auto& [region, engine] : {std::pair(&near_, own), std::pair(&returned_, own), std::pair(&far_, observed),
                                       std::pair(&received_, observed)}) {
    auto allocated = engine->Allocate(kSmall + kLarge);
    if (!allocated.ok()) return allocated.status();
    *region = *std::move(allocated);
  }
  auto remote = far_.Export();
  if (!remote.ok()) return remote.status();
  remote_ = *remote;
  return absl::OkStatus();
}

Witness::~Witness() {
  stopping_ = true;
  world_->Drive([this] { return idle_.load(); });
  ends_ = EngineWorld::Ends();
}

std::string Witness::problem() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return problem_;
}

void Witness::Note(const std::string& problem) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (problem_.empty()) problem_ = absl::StrCat("witness, round ", rounds_.load(), ": ", problem);
  }
  idle_ = true;
}

bool Witness::Goes(uint64_t rounds) {
  const uint64_t wanted = rounds_.load() + rounds;
  return world_->Drive([&] { return rounds_.load() >= wanted || !ok(); }) && ok();
}

bool Witness::Failed(const absl::Status& status) {
  if (status.ok()) return false;
  Note(status.ToString());
  return true;
}

// A round: fill, put both sizes, get both back and compare, send both and compare. One step's completions start the
// next, on whatever lane the last of them ran.
void Witness::StartRound() {
  step_ = 0;
  FillPattern(All(near_), rounds_.load());
  std::fill(All(returned_).begin(), All(returned_).end(), std::byte{0});
  waiting_ = 2;
  Put(0, kSmall);
  Put(kSmall, kLarge);
}

void Witness::Put(uint64_t offset, uint64_t length) {
  Failed(ends_.client
             .Put(near_.Part(offset, length), remote_, offset,
                  [this](Result result) {
                    if (!Failed(result.status)) Step();
                  })
             .status());
}

void Witness::Get() {
  for (const auto& [offset, length] : {std::pair(uint64_t{0}, kSmall), std::pair(kSmall, kLarge)}) {
    Failed(ends_.client
               .Get(returned_.Part(offset, length), remote_, offset,
                    [this](Result result) {
                      if (!Failed(result.status)) Step();
                    })
               .status());
  }
}

void Witness::SendAndReceive() {
  for (const auto& [offset, length] : {std::pair(uint64_t{0}, kSmall), std::pair(kSmall, kLarge)}) {
    const auto completed = [this](Result result) {
      if (!Failed(result.status)) Step();
    };
    Failed(ends_.server.Receive(kTag, received_.Part(offset, length), completed).status());
    Failed(ends_.client.Send(kTag, near_.Part(offset, length), completed).status());
  }
}

void Witness::Step() {
  if (waiting_.fetch_sub(1) != 1) return;
  const uint64_t seed = rounds_.load();
  switch (step_++) {
    case 0:
      waiting_ = 2;
      return Get();
    case 1:
      if (const std::string wrong = PatternMismatch(All(returned_), seed); !wrong.empty()) return Note("got " + wrong);
      std::fill(All(received_).begin(), All(received_).end(), std::byte{0});
      waiting_ = 4;
      return SendAndReceive();
    default:
      break;
  }
  if (const std::string wrong = PatternMismatch(All(received_), seed); !wrong.empty()) return Note("received " + wrong);
  rounds_.fetch_add(1);
  world_->Notify();
  if (stopping_.load()) {
    idle_ = true;
    return;
  }
  StartRound();
}

}  // namespace mcp::internal
