// Frames of many small operations, as they come in: each entry is treated as the frame of its own that it stands for,
// and the session ends at the first that is wrong. The frame's checksum has held by then, so a wrong entry was meant.
#include "absl/strings/str_cat.h"
#include "lib/session/session_impl.h"
#include "lib/wire/pack.h"

namespace mcp::internal {
namespace {

ABSL_ATTRIBUTE_NOINLINE std::string Excess(const Frame& frame, uint64_t index, const PackReader& reader) {
  const absl::string_view name = FrameTypeName(frame.type);
  if (index == frame.pack.count) {
    return absl::StrCat(name, " frame: ", reader.left(), " bytes behind the last of count ", frame.pack.count,
                        " entries");
  }
  return absl::StrCat(name, " frame: entry ", index, " of count ", frame.pack.count, " exceeds the ", reader.left(),
                      " bytes that are left of payload_bytes ", frame.payload_bytes);
}

}  // namespace

// False: it is not taken.
bool SessionImpl::OnPuts(Rail& rail, const Frame& frame, const std::byte* payload) {
  PackReader reader(frame.type, {payload, frame.payload_bytes});
  PackEntry entry;
  Frame put;
  put.type = FrameType::kPut;
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < frame.pack.count; ++i) {
    if (ABSL_PREDICT_FALSE(!reader.Next(&entry))) {
      FailViolation(rail, Excess(frame, i, reader));
      return false;
    }
    put.put.key = entry.words[0];
    put.put.offset = entry.words[1];
    put.payload_bytes = entry.payload_bytes;
    if (!OnPut(rail, put, entry.payload)) return false;
    bytes += entry.payload_bytes;
  }
  if (ABSL_PREDICT_FALSE(reader.left() > 0)) {
    FailViolation(rail, Excess(frame, frame.pack.count, reader));
    return false;
  }
  RailCounters::Add(rail.counters().payload_bytes_received, bytes);
  return true;
}

void SessionImpl::OnMessages(const Frame& frame, const std::byte* payload) {
  PackReader reader(frame.type, {payload, frame.payload_bytes});
  PackEntry entry;
  for (uint64_t i = 0; i < frame.pack.count; ++i) {
    if (ABSL_PREDICT_FALSE(!reader.Next(&entry))) return FailViolation(home(), Excess(frame, i, reader));
    RailCounters::Add(home().counters().payload_bytes_received, entry.payload_bytes);
    DeliverEager(entry.words[0], entry.payload, entry.payload_bytes);
    if (ABSL_PREDICT_FALSE(ended())) return;
  }
  if (ABSL_PREDICT_FALSE(reader.left() > 0)) FailViolation(home(), Excess(frame, frame.pack.count, reader));
}

}  // namespace mcp::internal
