// The fake device's data path.
#include <cerrno>
#include <cstring>
#include <utility>

#include "tests/support/fake_verbs_objects.h"

namespace mcp::internal {
namespace {

bool Within(const ibv_mr& mr, uint64_t address, uint64_t length) {
  const auto base = reinterpret_cast<uint64_t>(mr.addr);
  return address >= base && length <= mr.length && address - base <= mr.length - length;
}

uint64_t LengthOf(const ibv_send_wr& work) {
  uint64_t length = 0;
  for (int i = 0; i < work.num_sge; ++i) length += work.sg_list[i].length;
  return length;
}

// The other way round, of a read.
void Scatter(const ibv_send_wr& work, uint64_t from) {
  for (int i = 0; i < work.num_sge; ++i) {
    std::memcpy(reinterpret_cast<void*>(work.sg_list[i].addr), reinterpret_cast<const void*>(from),
                work.sg_list[i].length);
    from += work.sg_list[i].length;
  }
}

void Gather(const ibv_send_wr& work, uint64_t to) {
  for (int i = 0; i < work.num_sge; ++i) {
    if (work.sg_list[i].length == 0) continue;
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(work.sg_list[i].addr),
                work.sg_list[i].length);
    to += work.sg_list[i].length;
  }
}

}  // namespace

// A device that is gone is let go of by its driver: its descriptor stays readable.
void FakeOperations::Report(FakeContext& context, const ibv_async_event& event) {
  context.events.push_back(event);
  context.signal.Set();
  if (event.event_type == IBV_EVENT_DEVICE_FATAL) context.signal.stuck = true;
}

ibv_wc* FakeOperations::NewEntry(FakeFabric& fabric, FakeCompletionQueue& queue) {
  if (queue.tail - queue.head == queue.depth) {
    ++fabric.counts.completion_overflows;
    ibv_async_event event = {};
    event.event_type = IBV_EVENT_CQ_ERR;
    event.element.cq = &queue.cq;
    Report(*queue.context, event);
    return nullptr;
  }
  ibv_wc* entry = &queue.ring[Wrap(queue.ring, queue.tail++)];
  *entry = {};
  return entry;
}

void FakeOperations::Notify(FakeFabric& fabric, FakeCompletionQueue& queue) {
  if (!queue.armed) return;
  queue.armed = false;
  ++fabric.counts.notifications;
  queue.channel->signal.Set();
}

void FakeOperations::CompleteSend(FakeFabric& fabric, FakeQueuePair& qp, uint64_t work_id, ibv_wc_status status) {
  ++fabric.counts.send_completions;
  ibv_wc* completion = NewEntry(fabric, *qp.sends);
  if (completion == nullptr) return;
  completion->wr_id = work_id;
  completion->status = status;
  completion->opcode = IBV_WC_SEND;
  completion->qp_num = qp.qp.qp_num;
  Notify(fabric, *qp.sends);
}

// To the error state: what was held back is flushed.
void FakeOperations::Fail(FakeFabric& fabric, FakeQueuePair& qp) {
  if (qp.qp.state == IBV_QPS_ERR) return;
  qp.qp.state = IBV_QPS_ERR;
  for (auto& [work_id, held] : qp.outstanding) {
    if (held) CompleteSend(fabric, qp, work_id, IBV_WC_WR_FLUSH_ERR);
    held = false;
  }
  if (qp.shared == nullptr || fabric.last_receives == FakeFabric::LastReceives::kUntold) return;
  if (fabric.last_receives == FakeFabric::LastReceives::kKept && !qp.shared->empty()) {
    qp.kept_receive = qp.shared->ring[Wrap(qp.shared->ring, qp.shared->head++)].wr_id;
    return;
  }
  GiveBackReceive(fabric, qp);
}

void FakeOperations::GiveBackReceive(FakeFabric& fabric, FakeQueuePair& qp) {
  ibv_wc* completion = qp.kept_receive.has_value() ? NewEntry(fabric, *qp.receives) : nullptr;
  if (completion != nullptr) {
    completion->wr_id = *qp.kept_receive;
    completion->status = IBV_WC_WR_FLUSH_ERR;
    completion->opcode = IBV_WC_RECV;
    completion->qp_num = qp.qp.qp_num;
    Notify(fabric, *qp.receives);
  }
  qp.kept_receive.reset();
  ibv_async_event event = {};
  event.event_type = IBV_EVENT_QP_LAST_WQE_REACHED;
  event.element.qp = &qp.qp;
  Report(*qp.context, event);
}

void FakeOperations::Forget(FakeFabric& fabric, FakeQueuePair& qp) {
  std::erase_if(qp.context->events, [&](const ibv_async_event& event) { return event.element.qp == &qp.qp; });
  if (qp.kept_receive.has_value()) ++fabric.counts.receives_lost;
  fabric.queue_pairs.erase(qp.qp.qp_num);
  for (auto& [number, other] : fabric.queue_pairs) {
    if (other->to == &qp) other->to = nullptr;
  }
}

// Of this side's memory.
bool FakeOperations::Usable(FakeFabric& fabric, const FakeQueuePair& qp, const ibv_send_wr& work) {
  if ((work.send_flags & IBV_SEND_INLINE) != 0) return LengthOf(work) <= qp.inline_max;
  for (int i = 0; i < work.num_sge; ++i) {
    const auto found = fabric.regions.find(work.sg_list[i].lkey);
    if (found == fabric.regions.end() || found->second->mr.context != qp.qp.context ||
        !Within(found->second->mr, work.sg_list[i].addr, work.sg_list[i].length) ||
        (work.opcode == IBV_WR_RDMA_READ && (found->second->access & IBV_ACCESS_LOCAL_WRITE) == 0)) {
      return false;
    }
  }
  return true;
}

ibv_wc_status FakeOperations::Send(FakeFabric& fabric, FakeQueuePair& to, const ibv_send_wr& work) {
  if (to.shared->empty()) {
    ++fabric.counts.receives_missing;
    return IBV_WC_RNR_RETRY_EXC_ERR;
  }
  const FakeReceiveQueue::Buffer buffer = to.shared->ring[Wrap(to.shared->ring, to.shared->head++)];
  ibv_wc* completion = NewEntry(fabric, *to.receives);
  if (completion == nullptr) return IBV_WC_REM_OP_ERR;
  const uint64_t length = LengthOf(work);
  const bool fits = length <= buffer.entry.length;
  completion->wr_id = buffer.wr_id;
  completion->opcode = IBV_WC_RECV;
  completion->qp_num = to.qp.qp_num;
  completion->byte_len = static_cast<uint32_t>(length);
  completion->status = fits ? IBV_WC_SUCCESS : IBV_WC_LOC_LEN_ERR;
  if (fits) Gather(work, buffer.entry.addr);
  if (work.opcode == IBV_WR_SEND_WITH_IMM) {
    completion->wc_flags = IBV_WC_WITH_IMM;
    completion->imm_data = work.imm_data;
  }
  Notify(fabric, *to.receives);
  if (!fits) Fail(fabric, to);
  return fits ? IBV_WC_SUCCESS : IBV_WC_REM_INV_REQ_ERR;
}

const ibv_mr* FakeOperations::Reach(FakeFabric& fabric, const FakeQueuePair& to, uint32_t key, unsigned right) {
  if (const auto window = fabric.windows_by_index.find(key >> 8); window != fabric.windows_by_index.end()) {
    const FakeWindow& found = *window->second;
    const bool open = found.key == key && found.region != nullptr && found.mw.context == to.qp.context;
    return open && right == IBV_ACCESS_REMOTE_WRITE ? &found.range : nullptr;
  }
  const auto region = fabric.regions.find(key);
  if (region == fabric.regions.end() || region->second->mr.context != to.qp.context) return nullptr;
  return (region->second->access & right) == 0 ? nullptr : &region->second->mr;
}

// The old key goes with it.
ibv_wc_status FakeOperations::ExecuteBind(FakeFabric& fabric, const FakeQueuePair& qp, const ibv_send_wr& work) {
  auto& window = *FakeOf<FakeWindow>(work.bind_mw.mw);
  const ibv_mw_bind_info& info = work.bind_mw.bind_info;
  // As soft-RoCE has it: whoever's count of keys is not the device's has missed that a bind failed.
  if (work.bind_mw.rkey != ibv_inc_rkey(window.key)) return IBV_WC_MW_BIND_ERR;
  window.key = work.bind_mw.rkey;
  window.region = nullptr;
  if (info.length == 0) return IBV_WC_SUCCESS;
  ++fabric.counts.binds;
  const auto region = fabric.regions.find(info.mr->lkey);
  if (region == fabric.regions.end() || info.mr->context != qp.qp.context ||
      (region->second->access & IBV_ACCESS_MW_BIND) == 0 || info.mw_access_flags != IBV_ACCESS_REMOTE_WRITE ||
      !Within(region->second->mr, info.addr, info.length)) {
    return IBV_WC_MW_BIND_ERR;
  }
  window.region = region->second;
  window.range.addr = reinterpret_cast<void*>(info.addr);
  window.range.length = info.length;
  return IBV_WC_SUCCESS;
}

// As drivers do it: a request like others, and the key is known before it is done.
int FakeOperations::Bind(ibv_qp* qp, ibv_mw* mw, ibv_mw_bind* bind) {
  ibv_send_wr work = {};
  work.wr_id = bind->wr_id;
  work.opcode = IBV_WR_BIND_MW;
  work.send_flags = bind->send_flags;
  work.bind_mw.mw = mw;
  work.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
  work.bind_mw.bind_info = bind->bind_info;
  ibv_send_wr* refused = nullptr;
  const int error = ibv_post_send(qp, &work, &refused);
  if (error == 0) mw->rkey = work.bind_mw.rkey;
  return error;
}

ibv_wc_status FakeOperations::Execute(FakeFabric& fabric, FakeQueuePair& qp, const ibv_send_wr& work) {
  if (fabric.fail_next >= 0 && fabric.spared_before-- == 0) {
    const auto status = static_cast<ibv_wc_status>(fabric.fail_next);
    fabric.fail_next = -1;
    ++fabric.counts.failures;
    return status;
  }
  if (work.opcode == IBV_WR_BIND_MW) return ExecuteBind(fabric, qp, work);
  if (!Usable(fabric, qp, work)) return IBV_WC_LOC_PROT_ERR;
  const auto peer = fabric.queue_pairs.find(qp.peer);
  if (peer == fabric.queue_pairs.end() || peer->second->qp.state != IBV_QPS_RTS) return IBV_WC_RETRY_EXC_ERR;
  FakeQueuePair& to = *peer->second;
  if (qp.context->traffic[qp.port].lost || to.context->traffic[to.port].lost) return IBV_WC_RETRY_EXC_ERR;
  if (work.opcode == IBV_WR_SEND || work.opcode == IBV_WR_SEND_WITH_IMM) return Send(fabric, to, work);
  if (work.opcode != IBV_WR_RDMA_WRITE && work.opcode != IBV_WR_RDMA_READ) return IBV_WC_LOC_QP_OP_ERR;
  return Move(fabric, qp, to, work);
}

ibv_wc_status FakeOperations::Move(FakeFabric& fabric, FakeQueuePair& qp, FakeQueuePair& to, const ibv_send_wr& work) {
  if (LengthOf(work) == 0) return IBV_WC_SUCCESS;  // the key is not looked at (C9-88)
  const unsigned right = work.opcode == IBV_WR_RDMA_READ ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE;
  const ibv_mr* const reached = Reach(fabric, to, work.wr.rdma.rkey, right);
  if (reached == nullptr || !Within(*reached, work.wr.rdma.remote_addr, LengthOf(work))) {
    ++fabric.counts.access_errors;
    ibv_async_event event = {};
    event.event_type = IBV_EVENT_QP_ACCESS_ERR;
    event.element.qp = &to.qp;
    Report(*to.context, event);
    Fail(fabric, to);
    return IBV_WC_REM_ACCESS_ERR;
  }
  if (work.opcode == IBV_WR_RDMA_READ && qp.reads_out > to.reads_in) {
    Fail(fabric, to);
    return IBV_WC_REM_INV_REQ_ERR;  // sooner or later
  }
  if (work.opcode == IBV_WR_RDMA_READ) {
    Scatter(work, work.wr.rdma.remote_addr);
  } else {
    Gather(work, work.wr.rdma.remote_addr);
  }
  CountMoved(fabric, qp, LengthOf(work));
  return IBV_WC_SUCCESS;
}

void FakeOperations::CountMoved(FakeFabric& fabric, const FakeQueuePair& qp, uint64_t bytes) {
  FakeContext& context = *qp.context;
  for (const uint8_t part : {uint8_t{0}, qp.port}) context.traffic[part].bytes_moved += bytes;
  FakeContext::Traffic& port = context.traffic[qp.port];
  if (port.bytes_moved > port.bytes_max && !std::exchange(port.lost, true)) {
    fabric.cut.insert(HostOf(context, qp.port));
  }
  if (context.traffic[0].bytes_moved > context.traffic[0].bytes_max) Lose(fabric, context);
}

// What it has done is done, also what nobody was told of; nothing of it works from now on.
void FakeOperations::Lose(FakeFabric& fabric, FakeContext& context) {
  context.traffic[0].bytes_max = UINT64_MAX;
  for (const auto& [number, qp] : fabric.queue_pairs) {
    if (qp->context == &context) Fail(fabric, *qp);
  }
  ibv_async_event event = {};
  event.event_type = IBV_EVENT_DEVICE_FATAL;
  Report(context, event);
}

int FakeOperations::PostSend(ibv_qp* base, ibv_send_wr* work, ibv_send_wr** refused) {
  auto& qp = *FakeOf<FakeQueuePair>(base);
  FakeFabric& fabric = *qp.context->fabric;
  const std::lock_guard<std::mutex> lock(fabric.mutex);
  ++fabric.counts.doorbells;
  for (; work != nullptr; work = work->next) {
    *refused = work;
    if (qp.qp.state != IBV_QPS_RTS && qp.qp.state != IBV_QPS_ERR) return EINVAL;
    if (qp.outstanding.size() >= qp.depth) {
      ++fabric.counts.send_overflows;
      return ENOMEM;
    }
    ++fabric.counts.sends_posted;
    if (qp.qp.state == IBV_QPS_ERR) {
      qp.outstanding.emplace_back(work->wr_id, false);
      CompleteSend(fabric, qp, work->wr_id, IBV_WC_WR_FLUSH_ERR);
      continue;
    }
    qp.outstanding.emplace_back(work->wr_id, fabric.hold);
    if (fabric.hold) continue;
    const ibv_wc_status status = Execute(fabric, qp, *work);
    if (status != IBV_WC_SUCCESS || (work->send_flags & IBV_SEND_SIGNALED) != 0) {
      CompleteSend(fabric, qp, work->wr_id, status);
    }
    if (status != IBV_WC_SUCCESS) Fail(fabric, qp);
  }
  return 0;
}

int FakeOperations::PostReceive(ibv_srq* srq, ibv_recv_wr* work, ibv_recv_wr** refused) {
  auto& queue = *FakeOf<FakeReceiveQueue>(srq);
  const std::lock_guard<std::mutex> lock(queue.context->fabric->mutex);
  for (; work != nullptr; work = work->next) {
    *refused = work;
    if (queue.full() || work->num_sge != 1) return ENOMEM;
    queue.ring[Wrap(queue.ring, queue.tail++)] = {work->wr_id, work->sg_list[0]};
  }
  return 0;
}

// A completion that is taken frees its request's place in the send queue, and those before it.
int FakeOperations::Poll(ibv_cq* cq, int count, ibv_wc* completions) {
  auto& queue = *FakeOf<FakeCompletionQueue>(cq);
  FakeFabric& fabric = *queue.context->fabric;
  const std::lock_guard<std::mutex> lock(fabric.mutex);
  int taken = 0;
  for (; taken < count && queue.head < queue.tail; ++taken) {
    completions[taken] = queue.ring[Wrap(queue.ring, queue.head++)];
    if (completions[taken].opcode == IBV_WC_RECV) continue;
    const auto found = fabric.queue_pairs.find(completions[taken].qp_num);
    if (found == fabric.queue_pairs.end()) continue;
    auto& outstanding = found->second->outstanding;
    bool last = false;
    while (!last && !outstanding.empty()) {
      last = outstanding.front().first == completions[taken].wr_id;
      outstanding.pop_front();
    }
  }
  return taken;
}

int FakeOperations::Arm(ibv_cq* cq, int) {
  auto& queue = *FakeOf<FakeCompletionQueue>(cq);
  const std::lock_guard<std::mutex> lock(queue.context->fabric->mutex);
  if (queue.context->signal.stuck) return EIO;  // the device is gone
  queue.armed = true;
  return 0;
}

}  // namespace mcp::internal
