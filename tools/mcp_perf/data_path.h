// One side's half of a measurement: an engine of its own, the measured session, the source pattern and the ring of
// slots. Both sides hold the same source, so that each knows what must arrive.
//
// Thread rule: the thread that runs the measurement; what lanes touch is said where it is.
// Lifetime: loops with operations in flight end first: call CloseSession, wait for their completions, then destroy.
#ifndef MCP_TOOLS_MCP_PERF_DATA_PATH_H_
#define MCP_TOOLS_MCP_PERF_DATA_PATH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mcp/engine.h"
#include "tools/mcp_perf/measurement.h"

namespace mcp::perf {

struct Difference;

// What EngineOptions::transports is to be.
std::vector<std::string> TransportsOf(const std::string& transport);
// OK where this host has them; given an address, where a device of it has that one. kUnavailable says why not.
absl::Status WhyNotVerbs(const VerbsOptions& verbs, const std::string& address = "");

class DataPath {
 public:
  // `receives`: this side gets payload, so it needs a ring.
  // The device and GID are this side's.
  static absl::StatusOr<std::unique_ptr<DataPath>> Create(const TestSpec& spec, bool receives,
                                                          const VerbsOptions& verbs);
  // "verbs" or "tcp".
  std::string transport() const;
  ~DataPath();

  Engine& engine() { return *engine_; }
  // For Engine::Progress while waiting for something else: null where lanes drive the engine.
  Engine* driven() { return spec_.lanes == 0 ? engine_.get() : nullptr; }
  SessionOptions session_options() const;
  void set_session(Session session) { session_ = std::move(session); }
  Session& session() { return session_; }
  // At once: what is in flight is cancelled.
  void CloseSession() { session_ = Session(); }
  // In order, when nothing is in flight: the peer's side ends without an error. Waits, not for long.
  void FinishSession();

  const TestSpec& spec() const { return spec_; }
  const Layout& layout() const { return spec_.layout; }
  const Region& source() const { return source_; }
  const Region& ring() const { return ring_; }
  Slice SourceSlice(uint64_t phase) const { return {source_slice_.region, layout().PhaseOffset(phase), layout().size}; }
  Slice SlotSlice(uint64_t slot) const { return {ring_slice_.region, layout().SlotOffset(slot), layout().size}; }
  const std::byte* Due(uint64_t operation) const { return source_.data() + layout().SourceOffset(operation); }
  std::byte* SlotData(uint64_t slot) const { return ring_.data() + layout().SlotOffset(slot); }

  // Operation `index` of window `generation` has this number, and with verification the slot `index`.
  uint64_t OperationNumber(uint64_t generation, uint64_t index) const { return generation * layout().slots + index; }

  // Makes the ring differ from everything that the first window brings.
  void ArmRing();
  // After a window of which the first `count` slots were written: compares them (where verification is on), arms the
  // ring for the next generation and returns the bytes compared. kDataLoss names the first byte that differs.
  absl::StatusOr<uint64_t> CheckWindow(uint64_t generation, uint64_t count);
  absl::Status MismatchError(uint64_t operation, uint64_t slot, const Difference& difference) const;

  SideCounters Counters() const;
  PathInfo Describe() const;

 private:
  DataPath(const TestSpec& spec, std::unique_ptr<Engine> engine) : spec_(spec), engine_(std::move(engine)) {}

  const TestSpec spec_;
  std::unique_ptr<Engine> engine_;
  Region source_;
  Region ring_;
  Slice source_slice_;
  Slice ring_slice_;
  Session session_;
};

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_DATA_PATH_H_
