// The data path of a device of no cost. What it leaves out is what a device does beside the CPU: checking and moving.
#include <cerrno>

#include "tests/support/fake_verbs_objects.h"

namespace mcp::internal {

int FakeOperations::PostSendAtNoCost(ibv_qp* base, ibv_send_wr* work, ibv_send_wr** refused) {
  auto& qp = *FakeOf<FakeQueuePair>(base);
  FakeFabric& fabric = *qp.context->fabric;
  if (qp.to == nullptr) {
    const auto peer = fabric.queue_pairs.find(qp.peer);
    if (peer != fabric.queue_pairs.end()) qp.to = peer->second;
  }
  // The way down is not what is measured.
  if (qp.qp.state != IBV_QPS_RTS || qp.to == nullptr || qp.to->qp.state != IBV_QPS_RTS) {
    return PostSend(base, work, refused);
  }
  ++fabric.counts.doorbells;
  for (; work != nullptr; work = work->next) {
    ++fabric.counts.sends_posted;
    ibv_wc_status status = IBV_WC_SUCCESS;
    if (work->opcode == IBV_WR_SEND || work->opcode == IBV_WR_SEND_WITH_IMM) status = Send(fabric, *qp.to, *work);
    if (status != IBV_WC_SUCCESS || (work->send_flags & IBV_SEND_SIGNALED) != 0) {
      CompleteSend(fabric, qp, work->wr_id, status);
    }
    if (status != IBV_WC_SUCCESS) Fail(fabric, qp);
  }
  return 0;
}

int FakeOperations::PostReceiveAtNoCost(ibv_srq* srq, ibv_recv_wr* work, ibv_recv_wr** refused) {
  auto& queue = *FakeOf<FakeReceiveQueue>(srq);
  for (; work != nullptr; work = work->next) {
    if (queue.full()) {
      *refused = work;
      return ENOMEM;
    }
    queue.ring[Wrap(queue.ring, queue.tail++)] = {work->wr_id, work->sg_list[0]};
  }
  return 0;
}

int FakeOperations::PollAtNoCost(ibv_cq* cq, int count, ibv_wc* completions) {
  auto& queue = *FakeOf<FakeCompletionQueue>(cq);
  int taken = 0;
  for (; taken < count && queue.head < queue.tail; ++taken) {
    completions[taken] = queue.ring[Wrap(queue.ring, queue.head++)];
  }
  return taken;
}

}  // namespace mcp::internal
