#include "lib/protocol/transfer.h"

#include "absl/strings/str_cat.h"

namespace mcp::internal {

absl::Status CheckPlan(const TransferPlan& plan) {
  if (plan.bytes == 0) return absl::InvalidArgumentError("transfer of 0 bytes");
  if (plan.chunk_bytes == 0) return absl::InvalidArgumentError("transfer with chunks of 0 bytes");
  const uint64_t chunks = (plan.bytes - 1) / plan.chunk_bytes + 1;
  if (chunks > kChunksMax) {
    return absl::InvalidArgumentError(absl::StrCat("transfer of ", plan.bytes, " bytes in chunks of ", plan.chunk_bytes,
                                                   ": ", chunks, " chunks, at most ", kChunksMax));
  }
  if (plan.window == 0) return absl::InvalidArgumentError("transfer with a window of 0 chunks");
  if (plan.retry_ns <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("transfer with a retry time of ", plan.retry_ns, " ns"));
  }
  return absl::OkStatus();
}

}  // namespace mcp::internal
