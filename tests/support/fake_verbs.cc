// The fake device's objects and its connection manager.
#include "tests/support/fake_verbs.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "tests/support/fake_verbs_objects.h"
#include "transports/verbs/numa.h"

namespace mcp::internal {
namespace {

constexpr int kCompletionsMax = 32767;
constexpr uint32_t kMessageMax = 8u << 20;  // as soft-RoCE's, so that long writes go in pieces
constexpr uint32_t kInlineMax = 220;
constexpr int kRejectedNobodyListens = 8;
constexpr int kRejectedByConsumer = 28;

uint16_t PortOf(const sockaddr* address) {
  return ntohs(address->sa_family == AF_INET ? reinterpret_cast<const sockaddr_in*>(address)->sin_port
                                             : reinterpret_cast<const sockaddr_in6*>(address)->sin6_port);
}

void SetPort(sockaddr* address, uint16_t port) {
  if (address->sa_family == AF_INET) {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = htons(port);
  }
}

}  // namespace

class FakeCalls final : public VerbsCalls {
 public:
  explicit FakeCalls(std::shared_ptr<FakeFabric> fabric) : fabric_(std::move(fabric)) {
    for (uint8_t i = 0; i < fabric_->devices; ++i) {
      auto& made = *contexts_.emplace_back(std::make_unique<FakeContext>());
      made.fabric = fabric_.get();
      made.host = this;
      made.number = i;
      made.traffic.resize(1 + fabric_->ports);
      made.context.device = &made.device;
      made.context.async_fd = made.signal.fd;
      made.context.ops.post_send = FakeOperations::PostSend;
      made.context.ops.post_srq_recv = FakeOperations::PostReceive;
      made.context.ops.poll_cq = FakeOperations::Poll;
      made.context.ops.req_notify_cq = FakeOperations::Arm;
      made.context.ops.bind_mw = FakeOperations::Bind;
      if (fabric_->kind != FakeFabric::Kind::kNoCost) continue;
      made.context.ops.post_send = FakeOperations::PostSendAtNoCost;
      made.context.ops.post_srq_recv = FakeOperations::PostReceiveAtNoCost;
      made.context.ops.poll_cq = FakeOperations::PollAtNoCost;
    }
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    const auto limited = fabric_->reads_of_engines.find(fabric_->contexts.size() / fabric_->devices);
    if (limited != fabric_->reads_of_engines.end()) reads_max_ = limited->second;
    for (const auto& made : contexts_) fabric_->contexts.push_back(made.get());
  }
  ~FakeCalls() override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    for (const auto& made : contexts_) std::erase(fabric_->contexts, made.get());
  }

  absl::StatusOr<std::vector<OpenedDevice>> OpenDevices() override {
    std::vector<OpenedDevice> devices;
    for (const auto& made : contexts_) {
      OpenedDevice& device = devices.emplace_back();
      device.context = &made->context;
      device.name = absl::StrCat("fake", made->number);
      device.attributes.phys_port_cnt = fabric_->ports;
      device.attributes.max_cqe = kCompletionsMax;
      device.attributes.max_srq_wr = kCompletionsMax;
      device.attributes.max_qp_rd_atom = reads_max_;
      device.attributes.max_qp_init_rd_atom = reads_max_;
      if (fabric_->windows) device.attributes.device_cap_flags = IBV_DEVICE_MEM_WINDOW;
    }
    return devices;
  }
  void AbandonDevice(ibv_context*) override {}
  uint32_t NumaDistance(ibv_context* context) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    const bool far = std::any_of(contexts_.begin(), contexts_.end(), [&](const auto& made) {
      return &made->context == context && made->number == fabric_->far_device;
    });
    return far ? 2 * kNumaDistanceLocal : kNumaDistanceLocal;
  }
  NodeDistances DistancesFromNodes(ibv_context* context) override {
    return fabric_->DistancesOf(FakeOf<FakeContext>(context)->number);
  }
  absl::StatusOr<MemoryNode> NodeOf(absl::Span<const std::byte> range) override { return fabric_->NodeOf(range); }
  PortCounters Counters(ibv_context*, uint8_t) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    return fabric_->port_counters;
  }
  absl::StatusOr<ibv_port_attr> QueryPort(ibv_context*, uint8_t) override {
    ibv_port_attr attributes = {};
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    attributes.state = fabric_->ports_down ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
    attributes.active_mtu = IBV_MTU_4096;
    attributes.max_msg_sz = kMessageMax;
    return attributes;
  }
  int64_t LinkMegabits(ibv_context*, uint8_t, const ibv_port_attr&) override { return 0; }
  std::vector<GidEntry> Gids(ibv_context* context) override {
    return fabric_->GidsOf(FakeOf<FakeContext>(context)->number);
  }

  absl::StatusOr<ibv_pd*> AllocateDomain(ibv_context* context) override {
    auto* domain = new ibv_pd();
    domain->context = context;
    return domain;
  }
  void FreeDomain(ibv_pd* domain) override { delete domain; }
  // Memory that is known to be of a dma-buf is a device's: it has no pages that could be pinned.
  absl::StatusOr<ibv_mr*> RegisterMemory(ibv_pd* domain, void* address, size_t length, unsigned access) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    for (const auto& [key, region] : fabric_->regions) {
      if (region->dmabuf && region->Overlaps(address, length)) return ErrnoStatus(EFAULT, "fake: register memory");
    }
    return &AddRegion(domain, address, length, access)->mr;
  }
  FakeRegion* AddRegion(ibv_pd* domain, void* address, size_t length, unsigned access) {
    auto* region = new FakeRegion();
    region->mr.context = domain->context;
    region->mr.pd = domain;
    region->mr.addr = address;
    region->mr.length = length;
    region->mr.lkey = region->mr.rkey = fabric_->next_number++;
    region->access = access;
    fabric_->regions[region->mr.lkey] = region;
    return region;
  }
  absl::StatusOr<ibv_mr*> RegisterDmabuf(ibv_pd* domain, int fd, uint64_t offset, void* address, size_t length,
                                         unsigned access) override {
    struct stat file;
    if (fstat(fd, &file) != 0) return ErrnoStatus(errno, "fake: register a dma-buf");
    if (offset + length > static_cast<uint64_t>(file.st_size)) return ErrnoStatus(EINVAL, "fake: register a dma-buf");
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    if (!fabric_->dmabufs) return absl::FailedPreconditionError("fake: no dma-bufs");
    fabric_->counts.dmabufs_registered.push_back(offset);
    FakeRegion* const region = AddRegion(domain, address, length, access);
    region->dmabuf = true;
    return &region->mr;
  }
  void DeregisterMemory(ibv_mr* mr) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    for (const auto& [index, window] : fabric_->windows_by_index) {
      if (window->region == FakeOf<FakeRegion>(mr)) ++fabric_->counts.regions_lost;
    }
    fabric_->regions.erase(mr->lkey);
    delete FakeOf<FakeRegion>(mr);
  }

  absl::StatusOr<ibv_mw*> AllocateWindow(ibv_pd* domain) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* window = new FakeWindow();
    window->mw.context = domain->context;
    window->mw.pd = domain;
    window->mw.type = IBV_MW_TYPE_1;
    window->mw.rkey = fabric_->next_window++ << 8;
    window->key = window->mw.rkey;
    ++fabric_->counts.windows_made;
    fabric_->windows_by_index[window->mw.rkey >> 8] = window;
    return &window->mw;
  }
  void FreeWindow(ibv_mw* mw) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    fabric_->windows_by_index.erase(mw->rkey >> 8);
    delete FakeOf<FakeWindow>(mw);
  }

  absl::StatusOr<ibv_comp_channel*> CreateCompletionChannel(ibv_context* context) override {
    auto* channel = new FakeChannel();
    channel->channel.context = context;
    channel->channel.fd = channel->signal.fd;
    return &channel->channel;
  }
  void DestroyCompletionChannel(ibv_comp_channel* channel) override { delete FakeOf<FakeChannel>(channel); }
  absl::StatusOr<ibv_cq*> CreateCompletionQueue(ibv_context* context, int entries, ibv_comp_channel* channel) override {
    auto* queue = new FakeCompletionQueue();
    queue->cq.context = context;
    queue->context = FakeOf<FakeContext>(context);
    queue->channel = FakeOf<FakeChannel>(channel);
    queue->depth = static_cast<size_t>(entries);
    queue->ring.resize(std::bit_ceil(queue->depth));
    return &queue->cq;
  }
  void DestroyCompletionQueue(ibv_cq* queue) override { delete FakeOf<FakeCompletionQueue>(queue); }
  void TakeCompletionEvents(ibv_comp_channel* channel) override { FakeOf<FakeChannel>(channel)->signal.Clear(); }
  absl::StatusOr<ibv_srq*> CreateSharedReceiveQueue(ibv_pd* domain, uint32_t entries) override {
    auto* queue = new FakeReceiveQueue();
    queue->srq.context = domain->context;
    queue->context = FakeOf<FakeContext>(domain->context);
    queue->depth = entries;
    queue->ring.resize(std::bit_ceil(queue->depth));
    return &queue->srq;
  }
  void DestroySharedReceiveQueue(ibv_srq* queue) override { delete FakeOf<FakeReceiveQueue>(queue); }

  void ListenToAsyncEvents(ibv_context* context, absl::AnyInvocable<void(const ibv_async_event&)> take) override {
    FakeOf<FakeContext>(context)->listener = std::move(take);
  }
  void StopListening() override {
    std::unique_lock<std::mutex> lock(fabric_->mutex);
    for (const auto& made : contexts_) {
      fabric_->acknowledged.wait(lock, [&] { return made->unacknowledged.empty(); });
      made->listener = nullptr;
    }
  }
  void TakeAsyncEvents(ibv_context* context) override {
    auto& from = *FakeOf<FakeContext>(context);
    from.signal.Clear();
    for (;;) {
      ibv_async_event event;
      {
        const std::lock_guard<std::mutex> lock(fabric_->mutex);
        if (from.events.empty()) return;
        event = from.events.front();
        from.events.pop_front();
        from.unacknowledged.insert(event.element.qp);
      }
      from.listener(event);
      const std::lock_guard<std::mutex> lock(fabric_->mutex);
      from.unacknowledged.erase(from.unacknowledged.find(event.element.qp));
      fabric_->acknowledged.notify_all();
    }
  }

  absl::StatusOr<ibv_qp*> CreateQueuePair(ibv_pd* domain, ibv_qp_init_attr* attributes) override {
    if (attributes->cap.max_inline_data > kInlineMax) return ErrnoStatus(EINVAL, "fake: max_inline_data");
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    if (fabric_->queue_pairs_refused) return ErrnoStatus(ENOMEM, "fake: create a queue pair");
    auto* qp = new FakeQueuePair();
    qp->qp.context = domain->context;
    qp->qp.qp_context = attributes->qp_context;
    qp->qp.qp_num = fabric_->next_number++;
    qp->qp.state = IBV_QPS_RESET;
    qp->context = FakeOf<FakeContext>(domain->context);
    qp->sends = FakeOf<FakeCompletionQueue>(attributes->send_cq);
    qp->receives = FakeOf<FakeCompletionQueue>(attributes->recv_cq);
    qp->shared = FakeOf<FakeReceiveQueue>(attributes->srq);
    qp->depth = attributes->cap.max_send_wr;
    qp->inline_max = attributes->cap.max_inline_data;
    fabric_->queue_pairs[qp->qp.qp_num] = qp;
    return &qp->qp;
  }
  absl::Status PrepareQueuePair(rdma_cm_id*, ibv_qp* qp) override {
    qp->state = IBV_QPS_INIT;
    return absl::OkStatus();
  }
  absl::StatusOr<SettledPath> ReadyQueuePair(rdma_cm_id* id, ibv_qp* base, const QueuePairSettings& settings) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* qp = FakeOf<FakeQueuePair>(base);
    if (qp->qp.state != IBV_QPS_INIT) return ErrnoStatus(EINVAL, "fake: RTR");
    qp->peer = FakeOf<FakeId>(id)->remote_qp;
    qp->port = id->port_num;
    qp->qp.state = IBV_QPS_RTS;
    qp->reads_in = std::min(settings.reads_max, FakeOf<FakeId>(id)->peer_reads_out);
    qp->reads_out = std::min(settings.reads_max, FakeOf<FakeId>(id)->peer_reads_in);
    const int gid_index = fabric_->GidIndexFor(qp->context->number, id->port_num, &id->route.addr.src_addr);
    return SettledPath{settings.path_mtu_max, qp->reads_in, qp->reads_out, gid_index};
  }
  absl::Status FailQueuePair(ibv_qp* qp) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    FakeOperations::Fail(*fabric_, *FakeOf<FakeQueuePair>(qp));
    return absl::OkStatus();
  }
  // Waits, as ibv_destroy_qp does, until nobody is being told of it.
  void DestroyQueuePair(ibv_qp* base) override {
    std::unique_lock<std::mutex> lock(fabric_->mutex);
    auto* qp = FakeOf<FakeQueuePair>(base);
    FakeOperations::Forget(*fabric_, *qp);
    fabric_->acknowledged.wait(lock, [&] { return !qp->context->unacknowledged.contains(base); });
    delete qp;
  }

  absl::StatusOr<rdma_event_channel*> CreateEventChannel() override {
    auto* channel = new FakeEventChannel();
    channel->channel.fd = channel->signal.fd;
    return &channel->channel;
  }
  void DestroyEventChannel(rdma_event_channel* channel) override { delete FakeOf<FakeEventChannel>(channel); }
  bool TakeConnectionEvent(rdma_event_channel* channel, ConnectionEvent* event) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* from = FakeOf<FakeEventChannel>(channel);
    if (from->events.empty()) {
      from->signal.Clear();
      return false;
    }
    *event = from->events.front();
    from->events.pop_front();
    return true;
  }

  absl::StatusOr<rdma_cm_id*> CreateId(rdma_event_channel* channel, void* context) override {
    return &NewId(channel, context)->id;
  }
  void DestroyId(rdma_cm_id* base) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* id = FakeOf<FakeId>(base);
    auto& events = FakeOf<FakeEventChannel>(base->channel)->events;
    if (id->state == FakeId::State::kListening) {
      fabric_->listeners.erase(id->port);
      TurnAway(events, base);
    }
    std::erase_if(events, [&](const ConnectionEvent& event) { return event.id == base; });
    HangUp(*id);
    if (id->peer != nullptr) id->peer->peer = nullptr;
    delete id;
  }
  absl::Status MigrateId(rdma_cm_id* base, rdma_event_channel* channel) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* from = FakeOf<FakeEventChannel>(base->channel);
    auto* to = FakeOf<FakeEventChannel>(channel);
    for (const ConnectionEvent& event : from->events) {
      if (event.id == base) to->events.push_back(event);
    }
    std::erase_if(from->events, [&](const ConnectionEvent& event) { return event.id == base; });
    if (!to->events.empty()) to->signal.Set();
    base->channel = channel;
    return absl::OkStatus();
  }
  absl::Status Listen(rdma_cm_id* base, sockaddr* address, int) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* id = FakeOf<FakeId>(base);
    id->port = PortOf(address) != 0 ? PortOf(address) : fabric_->next_port++;
    if (!fabric_->listeners.emplace(id->port, id).second) return ErrnoStatus(EADDRINUSE, "fake: bind");
    std::memcpy(&base->route.addr.src_storage, address, SizeOf(address));
    SetPort(&base->route.addr.src_addr, id->port);
    id->state = FakeId::State::kListening;
    return absl::OkStatus();
  }
  absl::Status ResolveAddress(rdma_cm_id* base, sockaddr* source, sockaddr* target, int) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    if (source == nullptr) source = target;
    std::memcpy(&base->route.addr.dst_storage, target, SizeOf(target));
    std::memcpy(&base->route.addr.src_storage, source, SizeOf(source));
    SetPort(&base->route.addr.src_addr, fabric_->next_port++);
    if (fabric_->cut.contains(FakeOperations::HostOf(source)) ||
        fabric_->cut.contains(FakeOperations::HostOf(target))) {
      Push(*FakeOf<FakeId>(base), EventOf(RDMA_CM_EVENT_ADDR_ERROR, -EHOSTUNREACH));
      return absl::OkStatus();
    }
    PutAt(source, base);
    Push(*FakeOf<FakeId>(base), EventOf(RDMA_CM_EVENT_ADDR_RESOLVED));
    return absl::OkStatus();
  }
  absl::Status ResolveRoute(rdma_cm_id* id, int) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    Push(*FakeOf<FakeId>(id), EventOf(RDMA_CM_EVENT_ROUTE_RESOLVED));
    return absl::OkStatus();
  }
  absl::Status Connect(rdma_cm_id* base, rdma_conn_param* parameters) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* id = FakeOf<FakeId>(base);
    if (fabric_->requests_to_lose > 0) {
      --fabric_->requests_to_lose;
      return absl::OkStatus();
    }
    const auto found = fabric_->listeners.find(PortOf(&base->route.addr.dst_addr));
    if (found == fabric_->listeners.end()) {
      Push(*id, EventOf(RDMA_CM_EVENT_REJECTED, kRejectedNobodyListens));
      return absl::OkStatus();
    }
    FakeId& listener = *found->second;
    FakeId* asked = NewId(listener.id.channel, nullptr);
    asked->context = listener.context;
    listener.context->host->PutAt(&base->route.addr.dst_addr, &asked->id);
    asked->id.route.addr.src_storage = base->route.addr.dst_storage;
    asked->id.route.addr.dst_storage = base->route.addr.src_storage;
    asked->remote_qp = parameters->qp_num;
    asked->peer_reads_in = parameters->responder_resources;
    asked->peer_reads_out = parameters->initiator_depth;
    asked->state = FakeId::State::kAsked;
    id->state = FakeId::State::kAsking;
    asked->peer = id;
    id->peer = asked;
    ConnectionEvent event = EventOf(RDMA_CM_EVENT_CONNECT_REQUEST, 0, Data(parameters));
    event.id = &asked->id;
    event.listener = &listener.id;
    Push(listener, event);
    return absl::OkStatus();
  }
  absl::Status Accept(rdma_cm_id* base, rdma_conn_param* parameters) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* id = FakeOf<FakeId>(base);
    if (id->state != FakeId::State::kAsked || id->peer == nullptr) return ErrnoStatus(EINVAL, "fake: accept");
    if (parameters->initiator_depth > id->peer_reads_in || parameters->responder_resources > id->peer_reads_out) {
      return ErrnoStatus(EINVAL, "fake: more reads than the request allows");
    }
    id->state = FakeId::State::kAccepted;
    id->peer->remote_qp = parameters->qp_num;
    id->peer->peer_reads_in = parameters->responder_resources;
    id->peer->peer_reads_out = parameters->initiator_depth;
    Push(*id->peer, EventOf(RDMA_CM_EVENT_CONNECT_RESPONSE, 0, Data(parameters)));
    return absl::OkStatus();
  }
  absl::Status Reject(rdma_cm_id* base, absl::Span<const std::byte> data) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* id = FakeOf<FakeId>(base);
    if (fabric_->rejections_to_lose > 0) {
      --fabric_->rejections_to_lose;
    } else if (id->peer != nullptr) {
      Push(*id->peer, EventOf(RDMA_CM_EVENT_REJECTED, kRejectedByConsumer, data));
    }
    id->state = FakeId::State::kEnded;
    return absl::OkStatus();
  }
  absl::Status Establish(rdma_cm_id* base) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    auto* id = FakeOf<FakeId>(base);
    if (id->peer == nullptr) return ErrnoStatus(ECONNRESET, "fake: establish");
    id->state = id->peer->state = FakeId::State::kConnected;
    Push(*id->peer, EventOf(RDMA_CM_EVENT_ESTABLISHED));
    return absl::OkStatus();
  }
  void Disconnect(rdma_cm_id* id) override {
    const std::lock_guard<std::mutex> lock(fabric_->mutex);
    HangUp(*FakeOf<FakeId>(id));
  }

 private:
  static size_t SizeOf(const sockaddr* address) {
    return address->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  }
  static absl::Span<const std::byte> Data(const rdma_conn_param* parameters) {
    return {static_cast<const std::byte*>(parameters->private_data), parameters->private_data_len};
  }
  FakeId* NewId(rdma_event_channel* channel, void* context) {
    auto* id = new FakeId();
    id->id.channel = channel;
    id->id.context = context;
    id->context = contexts_.front().get();
    return id;
  }
  // Ends the requests to `listener` that nobody has taken yet. Their callers may have hung up since: those events go
  // too.
  static void TurnAway(std::deque<ConnectionEvent>& events, const rdma_cm_id* listener) {
    std::vector<FakeId*> requests;
    for (const ConnectionEvent& event : events) {
      if (event.listener == listener) requests.push_back(FakeOf<FakeId>(event.id));
    }
    for (FakeId* request : requests) {
      if (request->peer != nullptr) {
        Push(*request->peer, EventOf(RDMA_CM_EVENT_REJECTED, kRejectedNobodyListens));
        request->peer->peer = nullptr;
      }
      std::erase_if(events, [&](const ConnectionEvent& event) { return event.id == &request->id; });
      delete request;
    }
  }
  // The peer hears of it, whatever state the two are in.
  static void HangUp(FakeId& id) {
    const FakeId::State state = std::exchange(id.state, FakeId::State::kEnded);
    if (id.peer == nullptr || state == FakeId::State::kEnded || state == FakeId::State::kIdle) return;
    const bool connected = state == FakeId::State::kConnected;
    Push(*id.peer,
         EventOf(connected ? RDMA_CM_EVENT_DISCONNECTED : RDMA_CM_EVENT_REJECTED, connected ? 0 : kRejectedByConsumer));
  }

  // On the device and port that have the address. The first has every address that no other has.
  void PutAt(const sockaddr* address, rdma_cm_id* id) {
    id->verbs = &contexts_.front()->context;
    id->port_num = 1;
    for (const auto& device : contexts_) {
      for (uint8_t port = 1; port <= fabric_->ports; ++port) {
        if (FakeOperations::HostOf(address) != FakeOperations::HostOf(*device, port)) continue;
        id->verbs = &device->context;
        id->port_num = port;
      }
    }
  }

  const std::shared_ptr<FakeFabric> fabric_;
  std::vector<std::unique_ptr<FakeContext>> contexts_;
  int reads_max_ = 16;
};

std::unique_ptr<VerbsCalls> FakeVerbsCalls(std::shared_ptr<FakeFabric> fabric) {
  return std::make_unique<FakeCalls>(std::move(fabric));
}

}  // namespace mcp::internal
