// The root object: devices, lanes, registered memory, sessions.
//
// There is no global state: two engines in one process do not meet.
//
// Thread rule: every member may be called from any thread, except Progress and Wait, which drive an engine without
// lanes and belong to the first thread that calls either of them.
//
// Lifetime: an Engine outlives its Regions, Sessions and Listeners. Its destructor closes what is still open, runs the
// remaining completions and joins the lanes; it must not run on a lane.
#ifndef MCP_ENGINE_H_
#define MCP_ENGINE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mcp/context.h"
#include "mcp/export.h"
#include "mcp/region.h"
#include "mcp/session.h"

namespace mcp {

namespace internal {
class EngineImpl;
class ListenerImpl;
}  // namespace internal

struct TcpOptions {
  enum class Io { kAuto, kIoUring, kEpoll };
  // kAuto prefers io_uring and says why when it cannot have it.
  Io io = Io::kAuto;
  // A name of net.ipv4.tcp_available_congestion_control. Empty: chosen per path (docs/architecture.md says how); the
  // system's own for paths that leave this host.
  std::string congestion_control;
  // Zero-copy sending of large payload by page references (vmsplice). kAuto: where the path was measured to gain.
  enum class ZeroCopy { kAuto, kOff, kOn };
  ZeroCopy zero_copy = ZeroCopy::kAuto;
};

struct VerbsOptions {
  // "mlx5_0", or "mlx5_0/2" for its port 2: a session's rails take them in turn, in this order. Empty: the first rail
  // goes by whichever device leads to the peer, the others by the best of the rest. At most four are used.
  std::vector<std::string> devices;
  // Of those devices' GID tables: connections leave from it, or fail. -1: chosen (RoCE v2 and a routable one first).
  int gid_index = -1;
  // What a peer may write to that was let in for one receive or get, and lies about being done. kRegion: the whole of
  // that region, until it is closed and the device has confirmed what was sent from it. kOperation: those bytes, until
  // that operation completes; a write that comes later ends the session. That costs two work requests an operation and
  // a device's round of its own before it completes; a registration instead, which is a system call that pins pages,
  // where the device has no memory windows or the engine uses several devices, and for an operation that meets a full
  // send queue or a lost connection. What is exported is closed to peers by Region::Revoke in either case.
  enum class Protection { kRegion, kOperation };
  Protection protection = Protection::kRegion;
};

struct EngineOptions {
  // Progress threads. 0: none, and the caller drives the engine with Progress and Wait. At most 64.
  int lanes = 2;
  // How long an idle lane polls before it blocks. Zero blocks at once, as do lanes that leave no CPU free.
  std::chrono::microseconds lane_spin{20};
  // Transports in the order of preference: "verbs", "tcp", "loopback". The engine uses the first that this host, and
  // `address`, allow, for all of its sessions; Fallbacks says why it was not an earlier one. Empty: the default.
  std::vector<std::string> transports = {"verbs", "tcp"};
  // Where the engine is going to listen, or whom it is going to connect to: "10.0.0.1", or as Listen and Connect take
  // it. Verbs is then used only where an RDMA device has that address, or the one from which this host reaches it.
  // Empty: verbs wherever there is a device, which cannot serve addresses that no RDMA device has, 127.0.0.1 among
  // them.
  std::string address = {};
  TcpOptions tcp = {};
  VerbsOptions verbs = {};
  // How messages of 512 KiB and more travel. With a fixed protocol also those of 8 to 64 KiB (not over verbs), which go
  // whole or announced as trials tell otherwise: whole with kEager as long as the peer has room, else announced.
  // kInvalidArgument names what is wrong with it.
  PolicyOptions context = {};
  // In place of `context`: a policy of the caller's own, which outlives the engine. Null: none.
  const Policy* policy = nullptr;
  // What protocols cost on paths like these, as a file that mcp-tune wrote: the prior of new sessions. Empty: none. One
  // that cannot be read, is of another version or makes no sense is an error, unless `profile_required` is false: then
  // Fallbacks tells why it is not used.
  std::string profile = {};
  bool profile_required = true;
  // Keys that Region::Export and operations in flight may hold at once.
  uint32_t exported_keys_max = 65536;
};

struct RegionOptions {
  // Pins the pages (mlock). Transports that need pinned memory pin it themselves.
  bool pin = false;
  // Of Register: the memory at `data` is that of this dma-buf, from the offset on, and RDMA devices are to reach it by
  // the dma-buf, as with memory of other devices, whose pages the kernel does not pin for them. The caller has mapped
  // it at `data`, where small messages and checksums are read. The descriptor may be closed once Register has returned.
  // -1: ordinary memory. kFailedPrecondition: a device, its driver or the kernel has no part in dma-bufs; where the
  // memory's driver has peer memory (nvidia-peermem), such devices take it as ordinary memory.
  int dmabuf_fd = -1;
  uint64_t dmabuf_offset = 0;  // bytes
};

class MCP_EXPORT Listener {
 public:
  Listener();
  explicit Listener(std::shared_ptr<internal::ListenerImpl> impl);
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;
  // Stops listening. Sessions that were accepted live on with the connections that they have: one that is lost cannot
  // come back, nor one be added.
  ~Listener();

  bool valid() const { return impl_ != nullptr; }
  // Where it listens, with the port that was chosen when 0 was asked for: "127.0.0.1:18515", "[::1]:18515".
  std::string address() const;

 private:
  std::shared_ptr<internal::ListenerImpl> impl_;
};

class MCP_EXPORT Engine {
 public:
  // kInvalidArgument names the option. kUnavailable: none of the transports can be used here, with each one's reason.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options = {});
  explicit Engine(std::unique_ptr<internal::EngineImpl> impl);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Registers memory that the caller owns. Overlapping and repeated registrations are cheap. A range that is unmapped
  // while a Region covers it is the caller's error. One whose pages are of one NUMA node is moved by devices near to it
  // (SessionOptions::rails); memory of several nodes is better registered as a Region for each.
  absl::StatusOr<Region> Register(void* data, uint64_t size, const RegionOptions& options = {});
  // Allocates and registers page-aligned, touched memory, on huge pages where there are any.
  absl::StatusOr<Region> Allocate(uint64_t size, const RegionOptions& options = {});

  // Connects to a Listener at "HOST:PORT", "[IPv6]:PORT" or "loopback:NAME". Bounded by options.connect_timeout.
  // Blocks; on an engine without lanes it drives progress meanwhile. Must not be called on a lane.
  absl::StatusOr<Session> Connect(absl::string_view address, const SessionOptions& options = {});
  // The same without blocking: the callback runs once, on a lane.
  using ConnectCallback = absl::AnyInvocable<void(absl::StatusOr<Session>) &&>;
  void ConnectAsync(absl::string_view address, const SessionOptions& options, ConnectCallback callback);

  // Accepts sessions. The callback runs on a lane for each; dropping the Session refuses the peer. The options are
  // this side's; what both sides must agree on (checksums, rails) is settled by the handshake.
  using AcceptCallback = absl::AnyInvocable<void(Session)>;
  absl::StatusOr<Listener> Listen(absl::string_view address, const SessionOptions& options, AcceptCallback callback);

  // For an engine without lanes: runs what is ready and returns how many events it handled. Never blocks.
  size_t Progress();
  // For an engine without lanes: blocks until there is something for Progress to do, or the timeout passes.
  void Wait(std::chrono::microseconds timeout);

  // What is known of the moment (mcp/context.h), for decisions from now on.
  void SetTraining(const TrainingContext& training);
  // The latest decisions on how messages travel, oldest first, a line each with what was predicted and why. Blocks
  // until the lanes have answered; must not be called on a lane.
  absl::StatusOr<std::vector<std::string>> Decisions();

  // What could not be had and what is used in its place, with reasons.
  std::vector<Fallback> Fallbacks() const;
  // Counters and histograms in the Prometheus text format.
  std::string MetricsText() const;

 private:
  friend class internal::EngineImpl;
  std::unique_ptr<internal::EngineImpl> impl_;
};

// "0.1.0"
MCP_EXPORT absl::string_view Version();

}  // namespace mcp

#endif  // MCP_ENGINE_H_
