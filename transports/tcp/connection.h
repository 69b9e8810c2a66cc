// One TCP connection of a lane, as data; what happens to it is in connect, accept, post, poll, receive and recover.
//
//   kConnecting --reply--> kOpen --Close, error, end--> kClosing --nothing under way--> kClosed --event given--> kFree
//       \------------------refusal, deadline, Close------^
//
// Everything larger than this struct is taken from the lane's pools while it is needed.
#ifndef MCP_TRANSPORTS_TCP_CONNECTION_H_
#define MCP_TRANSPORTS_TCP_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "transports/tcp/address.h"
#include "transports/tcp/control_sender.h"
#include "transports/tcp/data_sender.h"
#include "transports/tcp/descriptor.h"
#include "transports/tcp/held_queue.h"
#include "transports/tcp/reactor.h"
#include "transports/tcp/zero_copy.h"

namespace mcp::internal {

inline constexpr uint16_t kNoChunk = 0xffff;

// Where one receive on the data socket puts its bytes.
struct ReceiveBatch {
  ReceiveBatch* next = nullptr;
  uint32_t records = 0;  // writes that it covers, from the first expected one on
  msghdr message = {};
  iovec parts[kGatherPartsMax];
};

// A socket of a connection, and what is under way on it.
struct ConnectionSocket {
  Descriptor fd;
  SocketId id = 0;
  bool added = false;  // to the reactor
  bool receiving = false;
  bool sending = false;
  bool awaiting = false;
  bool ready = false;     // while connecting: connected, and its preface is sent
  uint16_t releases = 0;  // zero-copy sends whose memory the kernel still holds

  bool idle() const { return !receiving && !sending && !awaiting && releases == 0; }
};

// Only while connecting.
struct Connecting {
  std::vector<SocketAddress> addresses;
  size_t address = 0;  // the one being tried
  bool retry = false;  // the next one follows once nothing is under way on this one
  uint64_t token = 0;
  int64_t deadline_ns = 0;
  std::string hello;
  absl::Status last_error;
  std::vector<std::byte> reply;
  size_t reply_bytes = 0;  // received
};

enum class SendMode : uint8_t {
  kCopy,            // the kernel copies
  kPageReferences,  // vmsplice
  kZeroCopy,        // SEND_ZC; undecided until the first report
};

struct Connection {
  enum class State : uint8_t { kFree, kConnecting, kOpen, kClosing, kClosed };

  State state = State::kFree;
  bool dirty = false;          // is in the lane's list of those with something to send
  bool ready = false;          // is in the lane's list of those with something to deliver
  bool paused = false;         // reads no further until what is held has been delivered
  bool reading_ended = false;  // reads no further at all
  bool refused = false;        // because a write was refused: the session closes it
  bool same_host = false;
  SendMode send_mode = SendMode::kCopy;
  ConnectionId id = 0;
  void* context = nullptr;

  ConnectionSocket control;
  ConnectionSocket data;

  ControlSender control_sender;
  DataSender data_sender;
  std::unique_ptr<PagePipe> pipe;

  uint16_t first_chunk = kNoChunk;  // received and not parsed yet, linked through the lane's chunks
  uint16_t last_chunk = kNoChunk;
  Block* partial = nullptr;    // the beginning of a frame whose rest has not come
  uint32_t partial_bytes = 0;  // that its next step needs: the prefix, then the whole frame
  HeldQueue held;
  ReceiveBatch* receive_batch = nullptr;

  std::unique_ptr<Connecting> connecting;
  absl::Status end;  // why it ends
  SocketAddress local;
  SocketAddress remote;
  std::vector<std::string> notes;
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_TCP_CONNECTION_H_
