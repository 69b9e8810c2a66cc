// The transport contract: what a rail needs of whatever carries its bytes.
//
// A Transport object belongs to one lane and is not thread-safe, except Wake. Several objects of one kind (one a lane)
// share what they must through their factory (transports/<kind>/). Virtual calls are made per batch, never per work
// item.
//
// What a connection promises:
//   - Messages arrive whole, once, in the order of their posting, or the connection closes with a reason. Those marked
//     may_overtake need not wait for the writes before them.
//   - A write's bytes are in place before the message that travels with it is delivered.
//   - Nothing is touched outside what the RegionTable resolves; a write that it refuses is not delivered to memory.
//   - After kClosed no memory of this side is touched on the connection's behalf, in either direction.
// It does not promise that bytes are undamaged: rails carry checksums and sequence numbers of their own, which is what
// makes the promises above testable under transports/fault.
#ifndef MCP_LIB_TRANSPORT_TRANSPORT_H_
#define MCP_LIB_TRANSPORT_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lib/memory/memory_node.h"
#include "lib/memory/remote_window.h"

namespace mcp::internal {

// What a transport can do beyond the contract's minimum.
enum Capability : uint32_t {
  // The device places writes; the peer's CPU takes no part. What a key says is then enforced by the window that came
  // with it: a write through one that was taken back closes the connection, and is never kStale or kRefused.
  kCapabilityRemotePlacement = 1u << 0,
  kCapabilityZeroCopySend = 1u << 1,   // large payload leaves without a user-space or kernel copy on some paths
  kCapabilityDeterministic = 1u << 2,  // same calls and same clock, same events
  kCapabilityOneSided = 1u << 3,       // takes kPlace and kFetch work
};

struct TransportInfo {
  std::string name;    // "tcp"
  std::string device;  // "io_uring", "epoll"
  uint32_t capabilities = 0;
  uint32_t message_bytes_max = 0;  // header and payload of one message
  uint64_t write_bytes_max = 0;    // payload of one write
  // Up to here, payload is better sent inside a message than as a write, whatever else is under way.
  uint32_t eager_bytes_max = 0;
  // Up to here it may be, if that saves a round trip.
  uint32_t eager_bytes_most = 0;
  // A loss is found by what comes behind it, or else only by a long time-out: where this is not 0, and nothing has been
  // acknowledged for so long, the user of a connection should post something small.
  int64_t tail_probe_ns = 0;
};

// Index of a live connection within one Transport. Reused after kClosed.
using ConnectionId = uint32_t;

// A peer that asks to be accepted: what it said, and what the transport holds of it. Destroying it refuses the peer.
// It may be accepted on any lane's Transport of the kind that produced it.
class PendingConnection {
 public:
  virtual ~PendingConnection() = default;
  virtual absl::Span<const std::byte> hello() const = 0;
  virtual std::string remote_address() const = 0;
  // Where it came in, as Listen returned it.
  virtual std::string listener_address() const = 0;
  // Tells the peer why before it is refused. Best effort, never blocks.
  virtual void Refuse(absl::string_view reason) = 0;
};

struct WorkRequest {
  enum class Kind : uint8_t {
    kMessage,  // header and payload arrive together as one message
    kWrite,    // payload goes to (key, offset) at the peer; then the header arrives as a message
    // Between the window at the peer and this side's memory, by devices alone: the peer's CPU takes no part and hears
    // nothing. The device's own checks of the window are all there are.
    kPlace,  // payload goes to the window, from `offset` on
    kFetch,  // payload_bytes of the window, from `offset` on, come to `payload`, which the device writes
  };
  Kind kind = Kind::kMessage;
  bool signaled = false;      // give a kSent event once the transport is done with the payload's memory
  bool may_overtake = false;  // kMessage: may be delivered before writes that were posted earlier have landed
  ConnectionId connection = 0;
  // Copied by Post. At most kHeaderBytesMax.
  const std::byte* header = nullptr;
  uint32_t header_bytes = 0;
  // Lent and unchanged until the peer has confirmed it (the rail's acknowledgement), or kSent, kDone or kClosed.
  const std::byte* payload = nullptr;
  uint64_t payload_bytes = 0;
  // kWrite: devices that split it do so at this length, or a greater one where there would be too many requests. 0:
  // into as few as they can.
  uint64_t request_bytes = 0;
  uint64_t key = 0;      // kWrite: the peer's key
  uint64_t offset = 0;   // bytes from the start of what the key or the window names
  RemoteWindow window;   // kWrite: what the key names, for kCapabilityRemotePlacement; kPlace, kFetch
  uint64_t work_id = 0;  // comes back in kSent; of kPlace and kFetch in kDone
  // What the payload's memory is registered as, if that is known; it outlives the work. Null: the transport finds out.
  const DeviceMemory::Grant* registered = nullptr;
};

inline constexpr uint32_t kHeaderBytesMax = 256;
// Longest hello, in either direction.
inline constexpr uint32_t kHelloBytesMax = 1024;

struct Event {
  enum class Kind : uint8_t {
    kConnected,  // Connect succeeded; data is the peer's reply hello
    kIncoming,   // pending holds a peer that wants in; the receiver of the event owns it
    kMessage,    // data is one message (kMessage work: header then payload; kWrite work: header)
    kSent,       // work_id's payload is no longer used
    // work_id, and all kPlace and kFetch work that was posted on the connection before it: what was placed is at the
    // peer, what was fetched is here, and no device uses this side's memory for it any more.
    kDone,
    kWindowClosed,  // work_id is the window's name, context what it was opened with (PeerWindows)
    kClosed,        // the connection is gone, status says why; its id may be reused after this
  };
  // For kMessage: what became of the payload of the write that it came with.
  enum class Write : uint8_t {
    kNone,     // no write: a plain message
    kLanded,   // the bytes are in place
    kStale,    // the key named memory that was taken back; the bytes were discarded
    kRefused,  // the key, offset or length was never valid; status says which. The connection reads no further
  };
  Kind kind = Kind::kMessage;
  Write write = Write::kNone;
  ConnectionId connection = 0;
  void* context = nullptr;  // the connection's, given to Connect or Accept
  // Valid until the next Poll on this Transport.
  const std::byte* data = nullptr;
  uint32_t data_bytes = 0;
  uint64_t work_id = 0;
  PendingConnection* pending = nullptr;  // owned by the receiver of the event
  absl::Status status;
};

// Of the kClosed of a connection that was never made: the peer's host answered, and nobody listens there. Another try
// would hear the same.
inline constexpr absl::string_view kNobodyListensUrl = "mcp/nobody-listens";
inline absl::Status NobodyListens(absl::Status status) {
  status.SetPayload(kNobodyListensUrl, absl::Cord());
  return status;
}
inline bool NobodyListensThere(const absl::Status& status) { return status.GetPayload(kNobodyListensUrl).has_value(); }

struct ConnectionDescription {
  std::string local_address;
  std::string remote_address;
  std::vector<std::string> notes;  // choices made for this connection, each with its reason
};

// What the path itself has to say, for the context layer; zero where unknown.
struct PathStatistics {
  uint64_t rtt_ns = 0;
  uint64_t retransmits = 0;  // since some time ago; by all connections of the device, if it is that which counts
  uint64_t counter = 0;      // names that device, the same for all its connections; 0: the connection's own count
  uint64_t delivery_rate_bytes_per_s = 0;
  // Where a device goes back to what was lost and counts that: on average, of late.
  uint64_t bytes_between_losses = 0;
};

// Windows for one operation each, of transports whose devices place writes: what a peer was let into by one is closed
// to it when the operation is over, whatever it kept of the key. Lane only, as the transport itself.
class PeerWindows {
 public:
  virtual ~PeerWindows() = default;

  struct Opened {
    uint64_t name = 0;  // never 0, never given twice
    RemoteWindow window;
  };
  // Lets peers write `range` of `region`, from before whatever is posted on the connection next; none: at once, where
  // there is none at the moment. The window outlives the connection.
  virtual absl::StatusOr<Opened> Open(std::optional<ConnectionId> connection, const DeviceMemory::Grant& region,
                                      absl::Span<std::byte> range, void* context) = 0;
  // True: closed, no device lets anyone in any more, and no event follows. False: kWindowClosed will say so. Asking
  // again is allowed, also for what is closed.
  virtual bool Close(uint64_t name) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;

  virtual const TransportInfo& info() const = 0;

  // Starts accepting; the address is "HOST:PORT" or what the kind understands. Returns the bound address.
  virtual absl::StatusOr<std::string> Listen(absl::string_view address) = 0;
  virtual void StopListening(absl::string_view bound_address) = 0;

  // Begins to connect. Ends in kConnected or kClosed (refusal, timeout) on this Transport.
  // `path` says which of the paths to this peer: the rails of one session ask for different ones, and a rail whose path
  // has failed asks for the next. A transport counts modulo what there is; one with a single path ignores it.
  virtual absl::StatusOr<ConnectionId> Connect(absl::string_view address, uint32_t path,
                                               absl::Span<const std::byte> hello, void* context,
                                               int64_t deadline_ns) = 0;
  // Takes a peer in, on this lane. No kConnected follows: the connection is usable at once.
  virtual absl::StatusOr<ConnectionId> Accept(std::unique_ptr<PendingConnection> pending,
                                              absl::Span<const std::byte> reply_hello, void* context) = 0;

  // Takes a prefix of the batch and returns its length; less than all means back-pressure on the connection of the
  // first one refused: try again after Poll has given events. Errors surface as kClosed.
  virtual size_t Post(absl::Span<const WorkRequest> batch) = 0;

  // Pushes what was posted, makes progress, and fills `events`. Never blocks.
  virtual size_t Poll(absl::Span<Event> events) = 0;

  // Blocks until Poll would find something, Wake is called, or the deadline (of the injected clock) passes. It may end
  // early, where the kernel interrupts it.
  virtual void Wait(int64_t deadline_ns) = 0;
  // Ends a Wait, present or next. The one member that any thread may call.
  virtual void Wake() = 0;

  // Abandons the connection. kClosed follows from a later Poll, once nothing touches memory for it any more.
  virtual void Close(ConnectionId connection, absl::Status reason) = 0;

  // Null: what the RegionTable says is all that is needed, or asked for.
  virtual PeerWindows* windows() { return nullptr; }

  virtual ConnectionDescription Describe(ConnectionId connection) const = 0;
  // From each node of memory to the device that carries it; zeros where that is not known.
  virtual NodeDistances Distances(ConnectionId /*connection*/) const { return {}; }
  virtual PathStatistics Statistics(ConnectionId connection) const = 0;
  // User-space memory held for the connection now.
  virtual uint64_t MemoryBytes(ConnectionId connection) const = 0;
};

}  // namespace mcp::internal

#endif  // MCP_LIB_TRANSPORT_TRANSPORT_H_
