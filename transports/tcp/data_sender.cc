#include "transports/tcp/data_sender.h"

#include <algorithm>

namespace mcp::internal {

msghdr* DataSender::Gather(uint64_t bytes_max, bool unsignaled_only) {
  DataQueue& queue = *queue_;
  uint64_t room = bytes_max;
  uint32_t count = 0;
  for (uint32_t i = 0; i < queue.pieces.size() && count < kGatherPartsMax && room > 0; ++i) {
    const Piece& piece = queue.pieces.At(i);
    if (unsignaled_only && piece.signaled) break;
    const uint64_t bytes = std::min(piece.bytes, room);
    queue.parts[count++] = {piece.data, bytes};
    room -= bytes;
  }
  queue.message = {};
  queue.message.msg_iov = queue.parts;
  queue.message.msg_iovlen = count;
  return &queue.message;
}

}  // namespace mcp::internal
