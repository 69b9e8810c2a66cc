#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "transports/loopback/device.h"

namespace mcp::internal {
namespace {

constexpr double kNsPerSecond = 1e9;

// What no peer could be given; the caller's mistake.
absl::Status CheckWork(const WorkRequest& work, const LoopbackOptions& options) {
  const bool write = work.kind == WorkRequest::Kind::kWrite;
  const uint64_t most = write ? options.write_bytes_max : options.message_bytes_max - work.header_bytes;
  if (work.header_bytes <= kHeaderBytesMax && work.payload_bytes <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("loopback: post a ", write ? "write" : "message", " of ",
                                                 work.header_bytes, " header bytes and ", work.payload_bytes,
                                                 " payload bytes: more than TransportInfo allows"));
}

}  // namespace

void LoopbackTransport::Fill(LoopbackEnd* end, const WorkRequest& work, LoopbackParcel* parcel) {
  parcel->kind = work.kind;
  parcel->signaled = work.signaled;
  parcel->header_bytes = work.header_bytes;
  parcel->payload = work.payload;
  parcel->payload_bytes = work.payload_bytes;
  parcel->key = work.key;
  parcel->offset = work.offset;
  parcel->work_id = work.work_id;
  parcel->due_ns = 0;
  if (work.header_bytes > 0) std::memcpy(parcel->header, work.header, work.header_bytes);
  if (options_.delay_ns == 0 && options_.bytes_per_second == 0) return;
  end->outgoing_free_ns = std::max(end->outgoing_free_ns, clock_->NowNs());
  if (options_.bytes_per_second != 0) {
    const uint64_t bytes = work.header_bytes + work.payload_bytes;
    end->outgoing_free_ns += static_cast<int64_t>(static_cast<double>(bytes) * kNsPerSecond /
                                                  static_cast<double>(options_.bytes_per_second));
  }
  parcel->due_ns = end->outgoing_free_ns + options_.delay_ns;
}

size_t LoopbackTransport::Post(absl::Span<const WorkRequest> batch) {
  size_t taken = 0;
  LoopbackEnd* filled = nullptr;  // whose peer is to be told
  for (; taken < batch.size(); ++taken) {
    const WorkRequest& work = batch[taken];
    LoopbackEnd* end = Find(work.connection);
    if (end == nullptr || end->state != LoopbackEnd::State::kOpen) continue;  // lost with its connection
    if (const absl::Status status = CheckWork(work, options_); !status.ok()) {
      Close(work.connection, status);
      continue;
    }
    LoopbackParcel* parcel = end->outgoing().Reserve();
    if (parcel == nullptr) break;
    Fill(end, work, parcel);
    end->outgoing().Publish();
    if (filled != end && filled != nullptr) filled->peer()->Schedule();
    filled = end;
  }
  if (filled != nullptr) filled->peer()->Schedule();
  return taken;
}

}  // namespace mcp::internal
