// libibverbs and librdmacm behind VerbsCalls: one call each, errors as Status.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "transports/verbs/async_events.h"
#include "transports/verbs/calls.h"
#include "transports/verbs/link_speed.h"
#include "transports/verbs/numa.h"

namespace mcp::internal {
namespace {

constexpr uint32_t kGidsPerPortMax = 256;

// What drivers count of it, in a port's folder.
constexpr const char* kSentAgainCounters[] = {
    "hw_counters/completer_retry_err",    // rxe
    "hw_counters/packet_seq_err",         // mlx5
    "hw_counters/implied_nak_seq_err",    // mlx5
    "hw_counters/local_ack_timeout_err",  // mlx5
    "hw_counters/seq_err_naks_rcvd",      // bnxt_re
    "hw_counters/to_retransmits",         // bnxt_re
};
// The same packets by different names: the first that counts.
constexpr const char* kPacketsSentCounters[] = {
    "hw_counters/sent_pkts",       // rxe
    "counters/port_xmit_packets",  // the port's own, of most devices
    "hw_counters/tx_pkts",         // bnxt_re
};

// Of a port's folder: /sys/class/infiniband/DEVICE/ports/PORT/FILE. Empty where it can't be read.
std::string ReadOfPort(const ibv_context* context, uint8_t port, const char* file) {
  const std::string path = absl::StrCat(context->device->ibdev_path, "/ports/", port, "/", file);
  const int opened = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (opened < 0) return "";
  char text[64];
  const ssize_t length = read(opened, text, sizeof(text));
  close(opened);
  return {text, length > 0 ? static_cast<size_t>(length) : 0};
}

uint64_t CountOfPort(const ibv_context* context, uint8_t port, const char* file) {
  uint64_t number = 0;
  return absl::SimpleAtoi(ReadOfPort(context, port, file), &number) ? number : 0;
}

absl::Status NotBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return ErrnoStatus(errno, "fcntl O_NONBLOCK");
  return absl::OkStatus();
}

absl::Status Result(int result, const char* what) {
  return result == 0 ? absl::OkStatus() : ErrnoStatus(result > 0 ? result : errno, what);
}

template <class T>
absl::StatusOr<T*> Made(T* object, const char* what) {
  if (object == nullptr) return ErrnoStatus(errno != 0 ? errno : EIO, what);
  return object;
}

// librdmacm has one context a device for the whole process, so who uses which is the process's as well: engines know
// nothing of each other.
struct ContextUse {
  int users = 0;
  bool abandoned = false;
};
struct ContextUses {
  std::mutex mutex;
  std::map<ibv_context*, ContextUse> by_context;
};
ContextUses& Uses() {
  static auto* const uses = new ContextUses;
  return *uses;
}

AsyncEvents& Events() {
  static auto* const events = new AsyncEvents;
  return *events;
}

// The context stays librdmacm's, which closes these descriptors once more when it finds the device missing.
void CloseUnder(const ibv_context* context) {
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) return;
  dup3(nothing, context->async_fd, O_CLOEXEC);
  dup3(nothing, context->cmd_fd, O_CLOEXEC);
  close(nothing);
}

class SystemCalls final : public VerbsCalls {
 public:
  ~SystemCalls() override {
    if (contexts_ == nullptr) return;
    const std::lock_guard<std::mutex> lock(Uses().mutex);
    for (ibv_context** context = contexts_; *context != nullptr; ++context) {
      const auto use = Uses().by_context.find(*context);
      if (--use->second.users > 0) continue;
      if (use->second.abandoned) CloseUnder(*context);
      Uses().by_context.erase(use);
    }
    rdma_free_devices(contexts_);
  }

  void AbandonDevice(ibv_context* context) override {
    const std::lock_guard<std::mutex> lock(Uses().mutex);
    Uses().by_context[context].abandoned = true;
  }

  absl::StatusOr<std::vector<OpenedDevice>> OpenDevices() override {
    if (access("/sys/class/infiniband", F_OK) != 0) {
      return absl::UnavailableError("no RDMA device: /sys/class/infiniband does not exist");
    }
    const std::lock_guard<std::mutex> lock(Uses().mutex);
    int count = 0;
    contexts_ = rdma_get_devices(&count);
    if (contexts_ == nullptr || count == 0) {
      const int error = errno;
      return absl::UnavailableError(
          absl::StrCat("no RDMA device can be opened: ", ErrnoText(error != 0 ? error : ENODEV),
                       " (is one in /sys/class/infiniband, are rdma_ucm and ib_uverbs loaded, is its user-space "
                       "driver installed?)"));
    }
    std::vector<OpenedDevice> devices;
    for (int i = 0; i < count; ++i) {
      ++Uses().by_context[contexts_[i]].users;
      OpenedDevice device;
      device.context = contexts_[i];
      device.name = ibv_get_device_name(contexts_[i]->device);
      if (ibv_query_device(contexts_[i], &device.attributes) != 0) continue;
      if (!NotBlocking(contexts_[i]->async_fd).ok()) continue;
      devices.push_back(std::move(device));
    }
    if (devices.empty()) return absl::UnavailableError("no RDMA device answers a query");
    return devices;
  }

  absl::StatusOr<ibv_port_attr> QueryPort(ibv_context* context, uint8_t port) override {
    ibv_port_attr attributes = {};
    MCP_RETURN_IF_ERROR(Result(ibv_query_port(context, port, &attributes), "ibv_query_port"));
    return attributes;
  }
  int64_t LinkMegabits(ibv_context* context, uint8_t port, const ibv_port_attr& attributes) override {
    return internal::LinkMegabits(SpeedCode(attributes), attributes.active_width, ReadOfPort(context, port, "rate"));
  }

  std::vector<GidEntry> Gids(ibv_context* context) override {
    std::vector<ibv_gid_entry> entries(kGidsPerPortMax);
    const ssize_t count = ibv_query_gid_table(context, entries.data(), entries.size(), 0);
    std::vector<GidEntry> gids;
    for (ssize_t i = 0; i < count; ++i) {
      const ibv_gid_entry& entry = entries[static_cast<size_t>(i)];
      GidEntry gid;
      gid.gid = entry.gid;
      gid.index = entry.gid_index;
      gid.port = static_cast<uint8_t>(entry.port_num);
      gid.roce_v2 = entry.gid_type == IBV_GID_TYPE_ROCE_V2;
      gid.roce_v1 = entry.gid_type == IBV_GID_TYPE_ROCE_V1;
      gids.push_back(gid);
    }
    return gids;
  }

  uint32_t NumaDistance(ibv_context* context) override {
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return kNumaDistanceLocal;
    return internal::NumaDistance(absl::StrCat(context->device->ibdev_path, "/device"), "/sys/devices/system/node",
                                  cpus);
  }
  NodeDistances DistancesFromNodes(ibv_context* context) override {
    return internal::DistancesFromNodes(absl::StrCat(context->device->ibdev_path, "/device"),
                                        "/sys/devices/system/node");
  }
  absl::StatusOr<MemoryNode> NodeOf(absl::Span<const std::byte> range) override { return NodeOfMemory(range); }

  PortCounters Counters(ibv_context* context, uint8_t port) override {
    PortCounters counters;
    for (const char* counter : kSentAgainCounters) counters.times_sent_again += CountOfPort(context, port, counter);
    for (const char* counter : kPacketsSentCounters) {
      if (counters.packets_sent == 0) counters.packets_sent = CountOfPort(context, port, counter);
    }
    return counters;
  }

  absl::StatusOr<ibv_pd*> AllocateDomain(ibv_context* context) override {
    return Made(ibv_alloc_pd(context), "ibv_alloc_pd");
  }
  void FreeDomain(ibv_pd* domain) override { ibv_dealloc_pd(domain); }

  absl::StatusOr<ibv_mr*> RegisterMemory(ibv_pd* domain, void* address, size_t length, unsigned access) override {
    ibv_mr* region = ibv_reg_mr(domain, address, length, access);
    if (region != nullptr) return region;
    return ErrnoStatus(
        errno, absl::StrCat("ibv_reg_mr of ", FormatBytes(length), " on ", ibv_get_device_name(domain->context->device),
                            errno == ENOMEM ? " (is RLIMIT_MEMLOCK large enough?)" : ""));
  }
  absl::StatusOr<ibv_mr*> RegisterDmabuf(ibv_pd* domain, int fd, uint64_t offset, void* address, size_t length,
                                         unsigned access) override {
    const std::string what = absl::StrCat("ibv_reg_dmabuf_mr of ", FormatBytes(length), " on ",
                                          ibv_get_device_name(domain->context->device));
#ifdef MCP_WITH_REG_DMABUF_MR
    ibv_mr* region =
        ibv_reg_dmabuf_mr(domain, offset, length, reinterpret_cast<uint64_t>(address), fd, static_cast<int>(access));
    if (region != nullptr) return region;
    if (errno != EOPNOTSUPP && errno != ENOSYS) return ErrnoStatus(errno, what);
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": ", ErrnoText(errno),
                     " (neither this device's driver nor its kernel takes dma-bufs; with peer memory, such as "
                     "nvidia-peermem, it is registered without dmabuf_fd; mcp-info shows both)"));
#else
    static_cast<void>(fd), static_cast<void>(offset), static_cast<void>(address), static_cast<void>(access);
    return absl::FailedPreconditionError(absl::StrCat(what, ": this build's libibverbs is older than 1.12.34"));
#endif
  }
  void DeregisterMemory(ibv_mr* region) override { ibv_dereg_mr(region); }

  absl::StatusOr<ibv_mw*> AllocateWindow(ibv_pd* domain) override {
    return Made(ibv_alloc_mw(domain, IBV_MW_TYPE_1), "ibv_alloc_mw");
  }
  void FreeWindow(ibv_mw* window) override { ibv_dealloc_mw(window); }

  absl::StatusOr<ibv_comp_channel*> CreateCompletionChannel(ibv_context* context) override {
    MCP_ASSIGN_OR_RETURN(ibv_comp_channel * channel, Made(ibv_create_comp_channel(context), "ibv_create_comp_channel"));
    if (absl::Status set = NotBlocking(channel->fd); !set.ok()) {
      ibv_destroy_comp_channel(channel);
      return set;
    }
    return channel;
  }
  void DestroyCompletionChannel(ibv_comp_channel* channel) override { ibv_destroy_comp_channel(channel); }

  absl::StatusOr<ibv_cq*> CreateCompletionQueue(ibv_context* context, int entries, ibv_comp_channel* channel) override {
    return Owned(ibv_create_cq(context, entries, nullptr, channel, 0), "ibv_create_cq");
  }
  void DestroyCompletionQueue(ibv_cq* queue) override {
    Events().Disown(queue);
    ibv_destroy_cq(queue);
  }

  void TakeCompletionEvents(ibv_comp_channel* channel) override {
    ibv_cq* queue = nullptr;
    void* context = nullptr;
    while (ibv_get_cq_event(channel, &queue, &context) == 0) ibv_ack_cq_events(queue, 1);
  }

  absl::StatusOr<ibv_srq*> CreateSharedReceiveQueue(ibv_pd* domain, uint32_t entries) override {
    ibv_srq_init_attr attributes = {};
    attributes.attr.max_wr = entries;
    attributes.attr.max_sge = 1;
    return Owned(ibv_create_srq(domain, &attributes), "ibv_create_srq");
  }
  void DestroySharedReceiveQueue(ibv_srq* queue) override {
    Events().Disown(queue);
    ibv_destroy_srq(queue);
  }

  void ListenToAsyncEvents(ibv_context* context, absl::AnyInvocable<void(const ibv_async_event&)> take) override {
    Events().Listen(this, context, std::move(take));
  }
  void StopListening() override { Events().StopListening(this); }
  void TakeAsyncEvents(ibv_context* context) override {
    ibv_async_event event;
    while (ibv_get_async_event(context, &event) == 0) {
      Events().Deliver(context, event);
      ibv_ack_async_event(&event);
    }
  }

  absl::StatusOr<ibv_qp*> CreateQueuePair(ibv_pd* domain, ibv_qp_init_attr* attributes) override {
    return Owned(ibv_create_qp(domain, attributes), "ibv_create_qp");
  }

  absl::Status PrepareQueuePair(rdma_cm_id* id, ibv_qp* qp) override {
    ibv_qp_attr attributes = {};
    int mask = 0;
    attributes.qp_state = IBV_QPS_INIT;
    MCP_RETURN_IF_ERROR(Result(rdma_init_qp_attr(id, &attributes, &mask), "rdma_init_qp_attr to INIT"));
    // Remote writes and reads are granted by memory, not by the queue pair.
    attributes.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
    return Result(ibv_modify_qp(qp, &attributes, mask | IBV_QP_ACCESS_FLAGS), "ibv_modify_qp to INIT");
  }

  absl::StatusOr<SettledPath> ReadyQueuePair(rdma_cm_id* id, ibv_qp* qp, const QueuePairSettings& settings) override {
    SettledPath settled;
    ibv_qp_attr attributes = {};
    int mask = 0;
    attributes.qp_state = IBV_QPS_RTR;
    MCP_RETURN_IF_ERROR(Result(rdma_init_qp_attr(id, &attributes, &mask), "rdma_init_qp_attr to RTR"));
    if (attributes.ah_attr.is_global != 0) settled.gid_index = attributes.ah_attr.grh.sgid_index;
    settled.path_mtu = attributes.path_mtu = std::min(attributes.path_mtu, settings.path_mtu_max);
    attributes.min_rnr_timer = settings.rnr_timer_min;
    settled.reads_in = attributes.max_dest_rd_atomic = std::min(attributes.max_dest_rd_atomic, settings.reads_max);
    MCP_RETURN_IF_ERROR(Result(
        ibv_modify_qp(qp, &attributes, mask | IBV_QP_PATH_MTU | IBV_QP_MIN_RNR_TIMER | IBV_QP_MAX_DEST_RD_ATOMIC),
        "ibv_modify_qp to RTR"));
    attributes = {};
    mask = 0;
    attributes.qp_state = IBV_QPS_RTS;
    MCP_RETURN_IF_ERROR(Result(rdma_init_qp_attr(id, &attributes, &mask), "rdma_init_qp_attr to RTS"));
    attributes.timeout = settings.timeout;
    attributes.retry_cnt = settings.retry_count;
    attributes.rnr_retry = settings.rnr_retry_count;
    settled.reads_out = attributes.max_rd_atomic = std::min(attributes.max_rd_atomic, settings.reads_max);
    mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
    MCP_RETURN_IF_ERROR(Result(ibv_modify_qp(qp, &attributes, mask), "ibv_modify_qp to RTS"));
    return settled;
  }

  absl::Status FailQueuePair(ibv_qp* qp) override {
    ibv_qp_attr attributes = {};
    attributes.qp_state = IBV_QPS_ERR;
    return Result(ibv_modify_qp(qp, &attributes, IBV_QP_STATE), "ibv_modify_qp to ERR");
  }
  void DestroyQueuePair(ibv_qp* qp) override {
    Events().Disown(qp);
    ibv_destroy_qp(qp);
  }

  absl::StatusOr<rdma_event_channel*> CreateEventChannel() override {
    MCP_ASSIGN_OR_RETURN(rdma_event_channel * channel, Made(rdma_create_event_channel(), "rdma_create_event_channel"));
    if (absl::Status set = NotBlocking(channel->fd); !set.ok()) {
      rdma_destroy_event_channel(channel);
      return set;
    }
    return channel;
  }
  void DestroyEventChannel(rdma_event_channel* channel) override { rdma_destroy_event_channel(channel); }

  bool TakeConnectionEvent(rdma_event_channel* channel, ConnectionEvent* event) override {
    rdma_cm_event* from = nullptr;
    if (rdma_get_cm_event(channel, &from) != 0) return false;
    event->type = from->event;
    event->status = from->status;
    event->id = from->id;
    event->listener = from->listen_id;
    event->data_bytes = from->param.conn.private_data == nullptr ? 0 : from->param.conn.private_data_len;
    if (event->data_bytes > 0) std::memcpy(event->data.data(), from->param.conn.private_data, event->data_bytes);
    rdma_ack_cm_event(from);
    return true;
  }

  absl::StatusOr<rdma_cm_id*> CreateId(rdma_event_channel* channel, void* context) override {
    rdma_cm_id* id = nullptr;
    MCP_RETURN_IF_ERROR(Result(rdma_create_id(channel, &id, context, RDMA_PS_TCP), "rdma_create_id"));
    return id;
  }
  void DestroyId(rdma_cm_id* id) override { rdma_destroy_id(id); }
  absl::Status MigrateId(rdma_cm_id* id, rdma_event_channel* channel) override {
    return Result(rdma_migrate_id(id, channel), "rdma_migrate_id");
  }
  absl::Status Listen(rdma_cm_id* id, sockaddr* address, int backlog) override {
    if (address->sa_family == AF_INET6) {
      int only = 1;
      MCP_RETURN_IF_ERROR(
          Result(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, &only, sizeof(only)), "rdma_set_option"));
    }
    MCP_RETURN_IF_ERROR(Result(rdma_bind_addr(id, address), "rdma_bind_addr"));
    return Result(rdma_listen(id, backlog), "rdma_listen");
  }
  absl::Status ResolveAddress(rdma_cm_id* id, sockaddr* source, sockaddr* target, int timeout_ms) override {
    return Result(rdma_resolve_addr(id, source, target, timeout_ms), "rdma_resolve_addr");
  }
  absl::Status ResolveRoute(rdma_cm_id* id, int timeout_ms) override {
    return Result(rdma_resolve_route(id, timeout_ms), "rdma_resolve_route");
  }
  absl::Status Connect(rdma_cm_id* id, rdma_conn_param* parameters) override {
    return Result(rdma_connect(id, parameters), "rdma_connect");
  }
  absl::Status Accept(rdma_cm_id* id, rdma_conn_param* parameters) override {
    return Result(rdma_accept(id, parameters), "rdma_accept");
  }
  absl::Status Reject(rdma_cm_id* id, absl::Span<const std::byte> data) override {
    return Result(rdma_reject(id, data.data(), static_cast<uint8_t>(data.size())), "rdma_reject");
  }
  absl::Status Establish(rdma_cm_id* id) override { return Result(rdma_establish(id), "rdma_establish"); }
  void Disconnect(rdma_cm_id* id) override { rdma_disconnect(id); }

 private:
  template <class T>
  absl::StatusOr<T*> Owned(T* object, const char* what) {
    if (object != nullptr) Events().Own(this, object);
    return Made(object, what);
  }

  ibv_context** contexts_ = nullptr;  // ends with a null
};

}  // namespace

std::unique_ptr<VerbsCalls> SystemVerbsCalls() { return std::make_unique<SystemCalls>(); }

}  // namespace mcp::internal
