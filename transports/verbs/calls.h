// What the transport asks of libibverbs and librdmacm off the data path, so that a test can stand in for both.
//
// The data path is not in here: ibv_post_send, ibv_post_srq_recv, ibv_bind_mw, ibv_poll_cq and ibv_req_notify_cq go
// through the context's own operation table, which is a table of functions already.
//
// Thread rule: any thread, as with the libraries; an object is created, used and destroyed by one thread at a time.
// Every event is copied and acknowledged before it is returned, so that nothing waits for an acknowledgement.
#ifndef MCP_TRANSPORTS_VERBS_CALLS_H_
#define MCP_TRANSPORTS_VERBS_CALLS_H_

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/memory/memory_node.h"
#include "transports/verbs/losses.h"

namespace mcp::internal {

struct OpenedDevice {
  ibv_context* context = nullptr;
  std::string name;
  ibv_device_attr attributes = {};
};

struct GidEntry {
  ibv_gid gid = {};
  uint32_t index = 0;
  uint8_t port = 1;
  bool roce_v2 = false;
  bool roce_v1 = false;  // neither: InfiniBand
};

// A connection event, without the library's hold on it.
struct ConnectionEvent {
  rdma_cm_event_type type = RDMA_CM_EVENT_ADDR_RESOLVED;
  int status = 0;  // an errno value, negated, or a reason of the connection manager
  rdma_cm_id* id = nullptr;
  rdma_cm_id* listener = nullptr;  // of RDMA_CM_EVENT_CONNECT_REQUEST
  uint8_t data_bytes = 0;
  std::array<std::byte, 255> data;

  absl::Span<const std::byte> private_data() const { return {data.data(), data_bytes}; }
};

// How a queue pair is to behave once it is connected.
struct QueuePairSettings {
  ibv_mtu path_mtu_max = IBV_MTU_4096;
  uint8_t timeout = 0;
  uint8_t retry_count = 0;
  uint8_t rnr_retry_count = 0;
  uint8_t rnr_timer_min = 0;
  uint8_t reads_max = 0;  // RDMA reads in flight, each way
};

// What the two ends' limits have come to.
struct SettledPath {
  ibv_mtu path_mtu = IBV_MTU_1024;
  uint8_t reads_in = 0;   // RDMA reads of the peer's in flight
  uint8_t reads_out = 0;  // own ones
  int gid_index = -1;     // of this end's GID, which the connection manager has chosen; -1: packets carry none
};

class VerbsCalls {
 public:
  virtual ~VerbsCalls() = default;

  // Every device of the host. kUnavailable when there is none, or they cannot be reached. Once; they stay open for as
  // long as this object lives.
  virtual absl::StatusOr<std::vector<OpenedDevice>> OpenDevices() = 0;
  // The device is gone. Its kernel waits with the removal until nobody has it open, and the libraries keep what they
  // opened: so the last user's end takes the context's descriptors away from them.
  virtual void AbandonDevice(ibv_context* context) = 0;
  virtual absl::StatusOr<ibv_port_attr> QueryPort(ibv_context* context, uint8_t port) = 0;
  // Of the port's link, per second; 0: not known (link_speed.h).
  virtual int64_t LinkMegabits(ibv_context* context, uint8_t port, const ibv_port_attr& attributes) = 0;
  virtual std::vector<GidEntry> Gids(ibv_context* context) = 0;
  // From the nearest node whose CPUs this thread may use (numa.h).
  virtual uint32_t NumaDistance(ibv_context* context) = 0;
  // From each node of memory.
  virtual NodeDistances DistancesFromNodes(ibv_context* context) = 0;
  // Where memory is, or why the kernel does not tell (memory_node.h).
  virtual absl::StatusOr<MemoryNode> NodeOf(absl::Span<const std::byte> range) = 0;
  virtual PortCounters Counters(ibv_context* context, uint8_t port) = 0;

  virtual absl::StatusOr<ibv_pd*> AllocateDomain(ibv_context* context) = 0;
  virtual void FreeDomain(ibv_pd* domain) = 0;
  virtual absl::StatusOr<ibv_mr*> RegisterMemory(ibv_pd* domain, void* address, size_t length, unsigned access) = 0;
  // Memory of a dma-buf, which queue pairs name by the addresses from `address` on. kFailedPrecondition where the
  // device, its driver or the kernel has no part in that.
  virtual absl::StatusOr<ibv_mr*> RegisterDmabuf(ibv_pd* domain, int fd, uint64_t offset, void* address, size_t length,
                                                 unsigned access) = 0;
  virtual void DeregisterMemory(ibv_mr* region) = 0;
  // Of type 1. Binding it is the data path's (ibv_bind_mw).
  virtual absl::StatusOr<ibv_mw*> AllocateWindow(ibv_pd* domain) = 0;
  // Bound or not: returns when no device lets anyone in by it.
  virtual void FreeWindow(ibv_mw* window) = 0;

  // The channel's descriptor does not block.
  virtual absl::StatusOr<ibv_comp_channel*> CreateCompletionChannel(ibv_context* context) = 0;
  virtual void DestroyCompletionChannel(ibv_comp_channel* channel) = 0;
  virtual absl::StatusOr<ibv_cq*> CreateCompletionQueue(ibv_context* context, int entries,
                                                        ibv_comp_channel* channel) = 0;
  virtual void DestroyCompletionQueue(ibv_cq* queue) = 0;
  // Takes what the channel has to tell, all of it.
  virtual void TakeCompletionEvents(ibv_comp_channel* channel) = 0;
  virtual absl::StatusOr<ibv_srq*> CreateSharedReceiveQueue(ibv_pd* domain, uint32_t entries) = 0;
  virtual void DestroySharedReceiveQueue(ibv_srq* queue) = 0;

  // `take` is told what the device reports of itself, of its ports, and of what was made by this object; what an event
  // names lives until it returns. By any thread, that of another engine on the device as well: it makes and destroys
  // nothing. Once a context, until StopListening.
  virtual void ListenToAsyncEvents(ibv_context* context, absl::AnyInvocable<void(const ibv_async_event&)> take) = 0;
  virtual void StopListening() = 0;
  // Reads what there is, for whoever it concerns.
  virtual void TakeAsyncEvents(ibv_context* context) = 0;

  virtual absl::StatusOr<ibv_qp*> CreateQueuePair(ibv_pd* domain, ibv_qp_init_attr* attributes) = 0;
  // To INIT: before the connection is asked for, or accepted.
  virtual absl::Status PrepareQueuePair(rdma_cm_id* id, ibv_qp* qp) = 0;
  // Through RTR to RTS, with what the handshake on `id` has settled, within `settings`.
  virtual absl::StatusOr<SettledPath> ReadyQueuePair(rdma_cm_id* id, ibv_qp* qp, const QueuePairSettings& settings) = 0;
  // Flushes what is posted; nothing more is sent or taken in.
  virtual absl::Status FailQueuePair(ibv_qp* qp) = 0;
  virtual void DestroyQueuePair(ibv_qp* qp) = 0;

  // The channel's descriptor does not block.
  virtual absl::StatusOr<rdma_event_channel*> CreateEventChannel() = 0;
  virtual void DestroyEventChannel(rdma_event_channel* channel) = 0;
  // False when there is none.
  virtual bool TakeConnectionEvent(rdma_event_channel* channel, ConnectionEvent* event) = 0;
  virtual absl::StatusOr<rdma_cm_id*> CreateId(rdma_event_channel* channel, void* context) = 0;
  virtual void DestroyId(rdma_cm_id* id) = 0;
  virtual absl::Status MigrateId(rdma_cm_id* id, rdma_event_channel* channel) = 0;
  virtual absl::Status Listen(rdma_cm_id* id, sockaddr* address, int backlog) = 0;
  // `source` may be null: any.
  virtual absl::Status ResolveAddress(rdma_cm_id* id, sockaddr* source, sockaddr* target, int timeout_ms) = 0;
  virtual absl::Status ResolveRoute(rdma_cm_id* id, int timeout_ms) = 0;
  virtual absl::Status Connect(rdma_cm_id* id, rdma_conn_param* parameters) = 0;
  virtual absl::Status Accept(rdma_cm_id* id, rdma_conn_param* parameters) = 0;
  virtual absl::Status Reject(rdma_cm_id* id, absl::Span<const std::byte> data) = 0;
  // The connecting side's queue pair is ready.
  virtual absl::Status Establish(rdma_cm_id* id) = 0;
  virtual void Disconnect(rdma_cm_id* id) = 0;
};

// libibverbs and librdmacm themselves.
std::unique_ptr<VerbsCalls> SystemVerbsCalls();

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_CALLS_H_
