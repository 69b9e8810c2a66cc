// A peer spoken by hand: the TCP preface, the handshake and the frames of one rail, with whatever is wrong in them.
// Blocking, with a bound on every wait; what it cannot do within the bound it reports by false.
#ifndef MCP_TESTS_PROCESS_RAW_PEER_H_
#define MCP_TESTS_PROCESS_RAW_PEER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/wire/frame.h"
#include "lib/wire/hello.h"
#include "lib/wire/tcp_frame.h"

namespace mcp::internal {

// A connected blocking socket to "127.0.0.1:PORT", or -1.
int DialTcp(absl::string_view address);
// Everything, or false.
bool SendAll(int fd, absl::Span<const std::byte> bytes);
// Whether the other side ends the connection within the bound. Reads and drops what comes before.
bool AwaitHangup(int fd, int64_t bound_ns);

class RawPeer {
 public:
  RawPeer();
  ~RawPeer();
  RawPeer(RawPeer&& other) noexcept;
  RawPeer& operator=(RawPeer&& other) noexcept;

  // Both sockets with their prefaces, and the hello; then the answer. False when there is none.
  bool Connect(absl::string_view address, absl::Span<const std::byte> hello);
  bool Connect(absl::string_view address, const Hello& hello);
  bool accepted() const { return accepted_; }
  const std::string& refusal() const { return refusal_; }
  const Hello& reply() const { return reply_; }

  int control() const { return control_; }
  int data() const { return data_; }

  // In its sequence.
  bool Send(Frame frame, absl::Span<const std::byte> payload = {});
  // As it is: header bytes sealed or not, any length.
  bool SendHeader(absl::Span<const std::byte> header, absl::Span<const std::byte> payload = {}, uint8_t tcp_flags = 0);
  // A write to (key, offset) of `length` bytes with the frame's header; `payload` goes over the data socket.
  bool Write(uint64_t key, uint64_t offset, uint64_t length, Frame frame, absl::Span<const std::byte> payload);
  bool WriteHeader(uint64_t key, uint64_t offset, uint64_t length, absl::Span<const std::byte> header);
  bool SendControl(absl::Span<const std::byte> bytes) { return SendAll(control_, bytes); }

  // The next session frame of the peer, and its payload; false at the end of the connection or the bound.
  bool Next(Frame* frame);
  // The next frame of that type; acknowledges what comes before.
  bool Await(FrameType type, Frame* frame);
  // Acknowledges everything heard so far.
  bool Acknowledge();
  bool AwaitEnd(int64_t bound_ns) { return AwaitHangup(control_, bound_ns); }

  uint32_t sequence = 0;
  uint32_t heard = 0;           // the next sequence that the peer will send
  std::vector<std::byte> body;  // of the frame that came last
  // The peer's last words, if it had any.
  std::string goodbye;

 private:
  bool ReadExactly(std::byte* to, size_t bytes);
  void CloseSockets();

  int control_ = -1;
  int data_ = -1;
  bool accepted_ = false;
  std::string refusal_;
  Hello reply_;
  std::vector<std::byte> body_;
};

// The header's bytes with their checksum made to hold after `change` was made to them.
std::vector<std::byte> SealedHeader(const Frame& frame);
void Reseal(std::vector<std::byte>* header);

// A hello that is accepted.
Hello GoodHello();

}  // namespace mcp::internal

#endif  // MCP_TESTS_PROCESS_RAW_PEER_H_
