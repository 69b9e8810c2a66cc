// One peer, over one or more rails.
//
// Thread rule: every member may be called from any thread. Calls made on one of the session's own lanes (from a
// completion) take the shortest path.
//
// Lifetime: a Session is a move-only handle; destroying it closes the session at once and its unfinished operations
// complete with kCancelled (use Close to finish them first). The Engine must outlive it. Slices, regions and buffers
// passed to an accepted operation are lent until its completion has run.
//
// Acceptance: an operation that returns an error was not accepted, took nothing, and will not run its completion.
//   kResourceExhausted   too much in flight on this session: try again after a completion
//   kInvalidArgument     a slice leaves its region, a remote range leaves the remote region, or an access is missing
//   kUnavailable, kCancelled   the session has ended; the message says why. No further try will succeed
#ifndef MCP_SESSION_H_
#define MCP_SESSION_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mcp/completion.h"
#include "mcp/export.h"
#include "mcp/region.h"

namespace mcp {

namespace internal {
class SessionImpl;
}  // namespace internal

struct OperationOptions {
  // From acceptance to completion. Zero: the session's operation_timeout.
  std::chrono::milliseconds timeout{0};
  // Send only, for small messages whose latency is critical: a copy goes by each of two rails, and the receiver takes
  // whichever is whole first, so that a stall of one rail does not hold the message up. It costs its bytes twice and a
  // copy here. Such a message may be matched before or after others that were sent around it; once its copies are on
  // their way it is neither cancelled nor timed out. Messages above the transport's eager limit, and those of sessions
  // with one rail, go as if this were not set (SessionStatistics::hedged_messages counts what went twice).
  bool hedge = false;
};

// Bytes [offset, offset + bytes) of the message have arrived.
using ChunkHandler = absl::AnyInvocable<void(uint64_t offset, uint64_t bytes)>;

struct ReceiveOptions {
  // A message matches when (its tag & tag_mask) == (tag & tag_mask).
  uint64_t tag_mask = ~uint64_t{0};
  // Zero: wait for as long as the session lives (a receive may be posted long before its message).
  std::chrono::milliseconds timeout{0};
  // Called for parts of the message as they arrive, so that they can be used while the rest is on its way: on the lane
  // that runs the completion, before it, each byte once, verified where checksums are on. A message that fails later
  // may have been told in part. Parts are multiples of 64 KiB, but for the last; messages may have 64 GiB.
  ChunkHandler on_chunk = nullptr;
  // Each part begins where the one before it ended. Otherwise they come as they arrive.
  bool chunks_in_order = true;
};

struct SessionOptions {
  // Parallel connections, each on a lane of its own where there are enough. 0: chosen (2 where the engine has two or
  // more lanes, else 1). At most 8. Long transfers are spread over them; what goes by one takes them in turn, or, where
  // their devices are on several NUMA nodes, prefers one that is near to its memory (RailDescription::notes says
  // which).
  int rails = 0;
  // A session opens with its first connection, and makes each of the others when there is work that it would take: a
  // transfer of 512 KiB or more, puts and gets whose turn it is (all, where some are nearer to its memory), hedged
  // messages. Until then, and where it cannot be made, the others carry its work (on the connecting side
  // RailDescription::notes says why). False: the session opens with all of them, or not at all. The connecting side's
  // to choose.
  bool rails_on_first_use = true;
  // Operations accepted and not yet completed. More are refused with kResourceExhausted. Of puts and gets each rail
  // takes an equal share, also of rails that are not connected yet.
  uint32_t outstanding_max = 16384;
  // XXH3-64 over every tile, verified by the receiver before it completes anything; damaged tiles are sent again.
  // Headers are always covered. Both sides must want it off to switch it off.
  bool checksum = true;
  std::chrono::milliseconds connect_timeout{5000};
  // For operations that name none. Zero: no limit beyond the peer's life.
  std::chrono::milliseconds operation_timeout{0};
  // A peer that shows no sign of life for this long is dead: its session ends with kUnavailable. At least 100 ms.
  std::chrono::milliseconds peer_timeout{5000};
  // A connection that is lost is made again, and what was in flight on it goes on, without loss and without harm to
  // what has completed. A session whose connections are all lost ends with kUnavailable when none is back after this
  // long, and at once when the peer's host says that the session, or its listener, is gone. While another connection
  // stands, peer_timeout (if that is longer) bounds the wait for one that was lost. A connection on which a frame went
  // missing counts as lost. Zero: the loss of any connection ends the session.
  std::chrono::milliseconds recovery_timeout{500};
  // A session without operations for this long is closed. Zero: never.
  std::chrono::milliseconds idle_timeout{0};
};

struct RailDescription {
  std::string transport;  // "verbs", "tcp", "loopback"
  std::string device;     // what carries it: the RDMA devices in use, "io_uring", "epoll"
  std::string local;      // addresses, as text
  std::string remote;
  int lane = 0;
  std::vector<std::string> notes;  // choices made for this connection, each with its reason
};

// Something worse than asked for that was used, and why.
struct Fallback {
  std::string wanted;
  std::string used;
  std::string reason;
};

struct SessionDescription {
  std::string peer;
  std::vector<RailDescription> rails;
  std::vector<Fallback> fallbacks;
};

struct SessionStatistics {
  uint64_t operations_completed = 0;
  uint64_t operations_failed = 0;
  uint64_t payload_bytes_sent = 0;
  uint64_t payload_bytes_received = 0;  // not what a peer's RDMA device placed by itself
  uint64_t wire_bytes_sent = 0;         // frames, headers and payload as handed to the transport
  uint64_t retransmitted_tiles = 0;
  uint64_t checksum_failures = 0;
  uint64_t path_retransmits = 0;  // by TCP, or by RDMA devices, of which each rail counts all that its port counted
  uint64_t reconnections = 0;     // connections that were lost and made again
  uint64_t memory_bytes = 0;      // user-space memory held by this session now
  // Messages above the transport's eager limit that went whole all the same: alone, by trial, or forced.
  uint64_t eager_transfers = 0;
  // Messages that were announced first; all others went whole.
  uint64_t announced_transfers = 0;
  // Messages of 512 KiB and more, by the protocol that was chosen for them (mcp/context.h).
  uint64_t bulk_transfers = 0;
  uint64_t stream_transfers = 0;
  uint64_t protocol_switches = 0;  // times that another protocol was chosen for messages of a size
  uint64_t protocol_probes = 0;    // of the transfers: made to see what the other protocol would have cost
  uint64_t hedged_messages = 0;    // sent by two rails (OperationOptions::hedge)
  uint64_t hedges_won = 0;         // of these: the second rail's copy was acknowledged first
};

class MCP_EXPORT Session {
 public:
  Session();
  explicit Session(std::shared_ptr<internal::SessionImpl> impl);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  bool valid() const { return impl_ != nullptr; }

  // Writes `local` to [remote_offset, remote_offset + local.length) of `remote`. Completes when the peer has the bytes
  // in place and, with checksums on, has verified them. No order is promised between two Puts in flight.
  // Over an RDMA device with checksums off it is that device which says so for the peer, whose CPU takes no part: the
  // bytes are there for what is sent by this session afterwards.
  absl::StatusOr<OperationId> Put(const Slice& local, const RemoteRegion& remote, uint64_t remote_offset,
                                  Completion completion, const OperationOptions& options = {});

  // Reads [remote_offset, remote_offset + local.length) of `remote` into `local`.
  absl::StatusOr<OperationId> Get(const Slice& local, const RemoteRegion& remote, uint64_t remote_offset,
                                  Completion completion, const OperationOptions& options = {});

  // Sends one message. Messages whose tags match the same receives are matched in the order of their Sends, when the
  // Sends come from one thread. Completes when the peer's session holds the message or, where it was announced first,
  // when the receive it was matched with has all of it. Up to 8 KiB (4 KiB over verbs) messages are not announced, and
  // above 64 KiB they are (4 KiB over verbs); in between it depends on what else is under way
  // (EngineOptions::context). One that is too long for its receive fails there, and here only if it was announced.
  absl::StatusOr<OperationId> Send(uint64_t tag, const Slice& local, Completion completion,
                                   const OperationOptions& options = {});

  // Receives one message into `local`; Result::bytes is its length. A message longer than `local` fails with
  // kOutOfRange and is dropped.
  absl::StatusOr<OperationId> Receive(uint64_t tag, const Slice& local, Completion completion,
                                      ReceiveOptions options = {});

  // Asks for an operation to end early. Its completion still runs exactly once: with kCancelled, or with its own
  // result if that came first; and only when nothing can touch the operation's memory any more. What the peer has
  // already been sent is waited for, which a living peer bounds and a dead one bounds by peer_timeout. An operation
  // that has completed is left alone. kInvalidArgument: no operation of this session has that name.
  absl::Status Cancel(OperationId operation);

  // Stops accepting operations, finishes those in flight, then closes. The completion runs when the session is gone.
  void Close(Completion completion);

  // OK while the session lives; afterwards why it ended.
  absl::Status status() const;
  // Runs once when the session ends, on a lane; at once (still on a lane) if it has ended. One handler per session.
  void OnEnd(absl::AnyInvocable<void(absl::Status) &&> handler);

  SessionDescription Describe() const;
  SessionStatistics Statistics() const;

 private:
  std::shared_ptr<internal::SessionImpl> impl_;
};

}  // namespace mcp

#endif  // MCP_SESSION_H_
