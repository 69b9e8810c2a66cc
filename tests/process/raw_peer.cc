#include "tests/process/raw_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/endpoint.h"
#include "lib/base/units.h"
#include "lib/wire/bytes.h"
#include "lib/wire/checksum.h"

namespace mcp::internal {
namespace {

constexpr int64_t kBoundNs = 10 * kNsPerS;

bool AwaitReadable(int fd, int64_t bound_ns) {
  SystemClock clock;
  const int64_t deadline_ns = clock.NowNs() + bound_ns;
  for (;;) {
    const int64_t left_ns = deadline_ns - clock.NowNs();
    if (left_ns <= 0) return false;
    pollfd poller = {.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = poll(&poller, 1, static_cast<int>(left_ns / kNsPerMs) + 1);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace

int DialTcp(absl::string_view address) {
  const auto endpoint = ParseEndpoint(address, 0);
  if (!endpoint.ok()) return -1;
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(endpoint->port);
  if (inet_pton(AF_INET, endpoint->host.c_str(), &to.sin_addr) != 1) return -1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) return fd;
  close(fd);
  return -1;
}

bool SendAll(int fd, absl::Span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool AwaitHangup(int fd, int64_t bound_ns) {
  SystemClock clock;
  const int64_t deadline_ns = clock.NowNs() + bound_ns;
  std::byte dropped[4096];
  while (AwaitReadable(fd, deadline_ns - clock.NowNs())) {
    const ssize_t bytes = recv(fd, dropped, sizeof(dropped), 0);
    if (bytes == 0 || (bytes < 0 && errno != EINTR)) return true;
  }
  return false;
}

RawPeer::RawPeer() = default;
RawPeer::~RawPeer() { CloseSockets(); }

RawPeer::RawPeer(RawPeer&& other) noexcept { *this = std::move(other); }

RawPeer& RawPeer::operator=(RawPeer&& other) noexcept {
  std::swap(control_, other.control_);
  std::swap(data_, other.data_);
  accepted_ = other.accepted_;
  refusal_ = std::move(other.refusal_);
  reply_ = other.reply_;
  sequence = other.sequence;
  heard = other.heard;
  return *this;
}

void RawPeer::CloseSockets() {
  for (int* fd : {&control_, &data_}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

bool RawPeer::Connect(absl::string_view address, const Hello& hello) { return Connect(address, EncodeHello(hello)); }

bool RawPeer::Connect(absl::string_view address, absl::Span<const std::byte> hello) {
  control_ = DialTcp(address);
  data_ = DialTcp(address);
  if (control_ < 0 || data_ < 0) return false;
  TcpPreface preface;
  preface.token = static_cast<uint64_t>(control_) << 32 ^ reinterpret_cast<uintptr_t>(this);
  std::byte bytes[kTcpPrefaceBytes];
  preface.hello_bytes = static_cast<uint32_t>(hello.size());
  EncodeTcpPreface(preface, bytes);
  if (!SendAll(control_, bytes) || !SendAll(control_, hello)) return false;
  preface.role = TcpRole::kData;
  preface.hello_bytes = 0;
  EncodeTcpPreface(preface, bytes);
  if (!SendAll(data_, bytes)) return false;
  std::byte answer[kTcpReplyBytes];
  if (!ReadExactly(answer, sizeof(answer))) return false;
  const auto reply = ParseTcpReply(answer);
  if (!reply.ok()) return false;
  body_.resize(reply->body_bytes);
  if (!ReadExactly(body_.data(), body_.size())) return false;
  accepted_ = reply->accepted;
  if (!accepted_) {
    refusal_ = PrintablePeerText(body_);
    return true;
  }
  const auto decoded = DecodeHello(body_);
  if (decoded.ok()) reply_ = *decoded;
  return decoded.ok();
}

bool RawPeer::ReadExactly(std::byte* to, size_t bytes) {
  while (bytes > 0) {
    if (!AwaitReadable(control_, kBoundNs)) return false;
    const ssize_t got = recv(control_, to, bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

bool RawPeer::Send(Frame frame, absl::Span<const std::byte> payload) {
  if (IsSequenced(frame.type)) frame.sequence = sequence++;
  return SendHeader(SealedHeader(frame), payload);
}

bool RawPeer::SendHeader(absl::Span<const std::byte> header, absl::Span<const std::byte> payload, uint8_t tcp_flags) {
  std::vector<std::byte> bytes(kTcpFramePrefixBytes);
  EncodeTcpFramePrefix(TcpFrameType::kMessage, tcp_flags, static_cast<uint32_t>(header.size() + payload.size()),
                       bytes.data());
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return SendControl(bytes);
}

bool RawPeer::Write(uint64_t key, uint64_t offset, uint64_t length, Frame frame, absl::Span<const std::byte> payload) {
  frame.sequence = sequence++;
  return WriteHeader(key, offset, length, SealedHeader(frame)) && SendAll(data_, payload);
}

bool RawPeer::WriteHeader(uint64_t key, uint64_t offset, uint64_t length, absl::Span<const std::byte> header) {
  std::vector<std::byte> bytes(kTcpFramePrefixBytes + kTcpWriteFieldsBytes);
  EncodeTcpFramePrefix(TcpFrameType::kWrite, 0, kTcpWriteFieldsBytes + static_cast<uint32_t>(header.size()),
                       bytes.data());
  EncodeTcpWriteFields(key, offset, length, bytes.data() + kTcpFramePrefixBytes);
  bytes.insert(bytes.end(), header.begin(), header.end());
  return SendControl(bytes);
}

bool RawPeer::Next(Frame* frame) {
  for (;;) {
    std::vector<std::byte> bytes(kTcpFramePrefixBytes);
    TcpFrame tcp;
    size_t whole = 0;
    if (!ReadExactly(bytes.data(), bytes.size())) return false;
    if (ParseTcpFrame(bytes.data(), bytes.size(), &tcp, &whole) == TcpParse::kBad) return false;
    bytes.resize(whole);
    if (!ReadExactly(bytes.data() + kTcpFramePrefixBytes, whole - kTcpFramePrefixBytes)) return false;
    if (ParseTcpFrame(bytes.data(), bytes.size(), &tcp, &whole) != TcpParse::kFrame) return false;
    if (tcp.type == TcpFrameType::kGoodbye) {
      goodbye = std::string(ParseTcpGoodbye({tcp.body, tcp.body_bytes}).message());
      continue;
    }
    size_t header_bytes = 0;
    if (DecodeFrame({tcp.body, tcp.body_bytes}, frame, &header_bytes) != FrameFault::kNone) return false;
    body.assign(tcp.body + header_bytes, tcp.body + tcp.body_bytes);
    if (IsSequenced(frame->type)) heard = frame->sequence + 1;
    return true;
  }
}

bool RawPeer::Await(FrameType type, Frame* frame) {
  while (Next(frame)) {
    if (frame->type == type) return true;
    if (!Acknowledge()) return false;
  }
  return false;
}

bool RawPeer::Acknowledge() {
  Frame ack;
  ack.sequence = sequence;
  ack.acknowledged = heard;
  return Send(ack);
}

std::vector<std::byte> SealedHeader(const Frame& frame) {
  std::vector<std::byte> header(kFrameHeaderBytesMax);
  header.resize(EncodeFrame(frame, header.data()));
  return header;
}

void Reseal(std::vector<std::byte>* header) {
  StoreLittleEndian<uint32_t>(header->data() + 4, 0);
  StoreLittleEndian<uint32_t>(header->data() + 4,
                              static_cast<uint32_t>(SeededChecksum(header->data() + 8, header->size() - 8,
                                                                   LoadLittleEndian<uint32_t>(header->data()))));
}

Hello GoodHello() {
  Hello hello;
  hello.features = kFeatureChecksum;
  hello.engine_id = 0x1234;
  hello.peer_timeout_ms = 5000;
  hello.outstanding_max = 4;
  hello.eager_credit_bytes = 1 << 20;
  return hello;
}

}  // namespace mcp::internal
