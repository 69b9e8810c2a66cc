#include "transports/fault/fault_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace mcp::internal {
namespace {

constexpr std::array<absl::string_view, kFaultKinds> kNames = {
    "drop",          "delay",    "reorder", "duplicate",    "corrupt_header", "corrupt_payload",
    "corrupt_write", "truncate", "kill",    "partial_post", "partial_poll",   "corrupt_hello"};

}  // namespace

absl::string_view FaultKindName(FaultKind kind) { return kNames[static_cast<size_t>(kind)]; }

FaultPlan FaultPlan::Only(FaultKind kind, double rate, uint64_t seed) { return Mix({kind}, rate, seed); }

FaultPlan FaultPlan::Mix(std::initializer_list<FaultKind> kinds, double rate, uint64_t seed) {
  FaultPlan plan;
  plan.seed = seed;
  for (const FaultKind kind : kinds) plan.set_rate(kind, rate);
  return plan;
}

bool FaultPlan::inert() const {
  return faults_max == 0 || std::all_of(rates.begin(), rates.end(), [](double rate) { return rate == 0; });
}

std::string FaultPlan::ToString() const {
  std::string text = absl::StrCat("seed ", seed, ":");
  for (size_t kind = 0; kind < kFaultKinds; ++kind) {
    if (rates[kind] != 0) absl::StrAppend(&text, " ", kNames[kind], " ", rates[kind]);
  }
  if (inert()) text += " no faults";
  return text;
}

std::string FaultLedger::ToString() const {
  std::string text;
  for (size_t kind = 0; kind < kFaultKinds; ++kind) {
    const uint64_t count = counts_[kind].load(std::memory_order_relaxed);
    if (count != 0) absl::StrAppend(&text, text.empty() ? "" : ", ", kNames[kind], " ", count);
  }
  return text.empty() ? "no faults" : text;
}

bool FaultLedger::Take(FaultKind kind) {
  if (stopped()) return false;
  if (total_.fetch_add(1, std::memory_order_relaxed) >= plan_.faults_max) {
    total_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  counts_[static_cast<size_t>(kind)].fetch_add(1, std::memory_order_relaxed);
  return true;
}

}  // namespace mcp::internal
