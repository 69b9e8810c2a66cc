// Where the bytes of each operation come from and go to.
//
// The source holds a pattern that is longer than one operation; operation n sends the `size` bytes that begin at
// (n mod phases) x step, so consecutive operations differ without anything being written between them. The receiving
// side has a ring of slots. With verification on, a window is one pass over the ring: every operation of a window has a
// slot to itself, so that all of them can be compared when the clock has stopped.
#ifndef MCP_TOOLS_MCP_PERF_LAYOUT_H_
#define MCP_TOOLS_MCP_PERF_LAYOUT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "tools/mcp_perf/test_kind.h"

namespace mcp::perf {

// With verification: bytes that a bandwidth test moves between two stops of the clock, where `outstanding` operations
// fit. Filling and draining the pipeline is to be a small part of a window, and the ring, which the comparison pulls
// through other caches than the transfer's, is not to come from memory: of 2 to 128 MiB, 8 came closest to a ring that
// is never compared (64 KiB operations over loopback on two cores, medians of 7: 7.4 GB/s; 4.8 with 32 MiB, 9.1 without
// verification).
inline constexpr uint64_t kWindowBytes = uint64_t{8} << 20;
// No ring is larger, unless one slot is. Fewer operations are in flight where this leaves fewer slots.
inline constexpr uint64_t kRingBytesMax = uint64_t{256} << 20;
inline constexpr uint64_t kSlotsMax = uint64_t{1} << 18;
// Without verification nothing asks for distinct slots: few, as perftest does, so that they stay in the cache.
inline constexpr uint64_t kHotRingBytes = uint64_t{1} << 20;
inline constexpr uint64_t kLatencyRingBytes = uint64_t{1} << 20;
inline constexpr uint64_t kLatencySlotsMax = 1024;
inline constexpr uint64_t kLatencySlotsMin = 8;
inline constexpr uint64_t kPhasesMax = 4096;
// Receives posted at once in send_bw.
inline constexpr uint64_t kReceivesMax = 1024;

struct Layout {
  uint64_t size = 0;         // bytes of one operation
  uint64_t stride = 0;       // bytes from one slot of the ring to the next
  uint64_t slots = 0;        // of the ring
  uint64_t step = 0;         // bytes from one phase of the source to the next
  uint64_t phases = 0;       // of the source
  uint64_t outstanding = 0;  // operations in flight: as asked for, or fewer where the ring has fewer slots
  uint64_t receives = 0;     // receives posted at once by the side that receives (send tests)

  uint64_t ring_bytes() const { return slots * stride; }
  uint64_t source_bytes() const { return size + (phases - 1) * step; }
  uint64_t PhaseOffset(uint64_t phase) const { return phase * step; }
  uint64_t SourceOffset(uint64_t operation) const { return PhaseOffset(operation % phases); }
  uint64_t SlotOffset(uint64_t slot) const { return slot * stride; }
};

Layout ChooseLayout(const TestKind& test, uint64_t size, uint64_t outstanding, bool verify);

// For a layout that a peer sent: within the limits above and consistent. The message names the field and value.
absl::Status CheckLayout(const Layout& layout);

}  // namespace mcp::perf

#endif  // MCP_TOOLS_MCP_PERF_LAYOUT_H_
