// What arrives on a TCP connection: the input is read as a preface, as a reply, and as a stream of frames.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "lib/wire/tcp_frame.h"

namespace mcp::internal {
namespace {

void CheckPreface(const std::byte* bytes) {
  const auto preface = ParseTcpPreface(bytes);
  if (!preface.ok()) return;
  if (preface->hello_bytes > kTcpHelloBytesMax) std::abort();
  std::byte encoded[kTcpPrefaceBytes];
  EncodeTcpPreface(*preface, encoded);
  if (std::memcmp(encoded, bytes, sizeof(encoded)) != 0) std::abort();
}

void CheckReply(const std::byte* bytes) {
  const auto reply = ParseTcpReply(bytes);
  if (!reply.ok()) return;
  std::byte encoded[kTcpReplyBytes];
  EncodeTcpReply(*reply, encoded);
  if (std::memcmp(encoded, bytes, sizeof(encoded)) != 0) std::abort();
}

void CheckFrames(const std::byte* bytes, size_t size) {
  for (size_t offset = 0;;) {
    TcpFrame frame;
    size_t frame_bytes = 0;
    const std::byte* from = bytes + offset;
    const size_t left = size - offset;
    switch (ParseTcpFrame(from, left, &frame, &frame_bytes)) {
      case TcpParse::kNeedMore:
        // Always more than there is, or the reader would spin; never more than a frame may take.
        if (frame_bytes <= left || frame_bytes > kTcpFramePrefixBytes + kTcpFrameBodyBytesMax) std::abort();
        return;
      case TcpParse::kBad:
        if (!absl::IsInvalidArgument(DescribeBadTcpFrame(from, left))) std::abort();
        return;
      case TcpParse::kFrame:
        break;
    }
    if (frame_bytes < kTcpFramePrefixBytes || frame_bytes > left) std::abort();
    if (frame.body + frame.body_bytes != from + frame_bytes || frame.length > kTcpWriteBytesMax) std::abort();
    if (frame.type == TcpFrameType::kGoodbye && ParseTcpGoodbye({frame.body, frame.body_bytes}).ok()) std::abort();
    offset += frame_bytes;
  }
}

}  // namespace
}  // namespace mcp::internal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mcp::internal;
  // A copy of the input's own size, so that a read beyond it is seen.
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  const std::vector<std::byte> bytes(begin, begin + size);
  if (size >= kTcpPrefaceBytes) CheckPreface(bytes.data());
  if (size >= kTcpReplyBytes) CheckReply(bytes.data());
  CheckFrames(bytes.data(), size);
  return 0;
}
