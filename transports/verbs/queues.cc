#include "transports/verbs/queues.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/errno_status.h"
#include "lib/base/status_macros.h"
#include "lib/memory/host_memory.h"

namespace mcp::internal {
namespace {

// Entries that are asked of a device that has more: 240 connections a lane.
constexpr uint32_t kReceiveEntriesMax = 16384;
constexpr uint32_t kSendEntriesMax = 31200;
// Tried in turn: headers of the session fit the first.
constexpr uint32_t kInlineBytes[] = {220, 128, 64, 0};

}  // namespace

absl::StatusOr<std::unique_ptr<LaneQueues>> LaneQueues::Create(VerbsNetworkImpl& network, VerbsDevice& device) {
  std::unique_ptr<LaneQueues> queues(new LaneQueues(network, device));
  VerbsCalls& calls = network.calls();
  ibv_context* context = device.opened.context;
  const ibv_device_attr& limits = device.opened.attributes;
  const uint32_t completions_max = static_cast<uint32_t>(std::max(limits.max_cqe, 0));
  const uint32_t receives =
      std::min({kReceiveEntriesMax, completions_max, static_cast<uint32_t>(std::max(limits.max_srq_wr, 0))});
  const uint32_t sends = std::min(kSendEntriesMax, completions_max);
  queues->shares_max_ = std::min(receives / kReceiveShare, sends / kSendQueueDepth);
  if (queues->shares_max_ == 0) {
    return absl::UnavailableError(absl::StrCat("verbs ", device.opened.name, ": its queues are too short: max_cqe ",
                                               limits.max_cqe, ", max_srq_wr ", limits.max_srq_wr));
  }
  MCP_ASSIGN_OR_RETURN(queues->channel_, calls.CreateCompletionChannel(context));
  MCP_ASSIGN_OR_RETURN(queues->send_, calls.CreateCompletionQueue(context, static_cast<int>(sends), queues->channel_));
  MCP_ASSIGN_OR_RETURN(queues->receive_,
                       calls.CreateCompletionQueue(context, static_cast<int>(receives), queues->channel_));
  MCP_ASSIGN_OR_RETURN(queues->shared_, calls.CreateSharedReceiveQueue(device.domain, receives));
  return queues;
}

LaneQueues::~LaneQueues() {
  VerbsCalls& calls = network_.calls();
  if (shared_ != nullptr) calls.DestroySharedReceiveQueue(shared_);
  if (receive_ != nullptr) calls.DestroyCompletionQueue(receive_);
  if (send_ != nullptr) calls.DestroyCompletionQueue(send_);
  if (channel_ != nullptr) calls.DestroyCompletionChannel(channel_);
  for (std::vector<Slab>* slabs : {&receives_, &slabs_}) {
    for (const Slab& slab : *slabs) calls.DeregisterMemory(slab.region);
  }
}

absl::StatusOr<LaneQueues::Slab> LaneQueues::MakeSlab(uint32_t slots) {
  const size_t size = (size_t{slots} * kVerbsMessageBytesMax + kPageBytes - 1) / kPageBytes * kPageBytes;
  Slab slab{{static_cast<std::byte*>(std::aligned_alloc(kPageBytes, size)), [](std::byte* bytes) { std::free(bytes); }},
            nullptr,
            nullptr};
  if (slab.owned == nullptr) return absl::ResourceExhaustedError(absl::StrCat("no memory for ", size, " bytes"));
  slab.bytes = slab.owned.get();
  std::fill(slab.bytes, slab.bytes + size, std::byte{0});
  MCP_ASSIGN_OR_RETURN(slab.region,
                       network_.calls().RegisterMemory(device_.domain, slab.bytes, size, IBV_ACCESS_LOCAL_WRITE));
  return slab;
}

absl::Status LaneQueues::TakeShare() {
  if (shares_used_ == shares_max_) {
    return absl::ResourceExhaustedError(absl::StrCat("verbs ", device_.opened.name, ": the lane's queues hold ",
                                                     shares_max_, " connections: use more lanes"));
  }
  if (shares_used_ == receives_.size()) {
    MCP_ASSIGN_OR_RETURN(Slab slab, MakeSlab(kReceiveShare));
    receives_.push_back(std::move(slab));
    const uint64_t first = (receives_.size() - 1) * uint64_t{kReceiveShare};
    for (uint64_t number = first; number < first + kReceiveShare; ++number) ReturnBuffer(number);
    MCP_RETURN_IF_ERROR(PostBuffers());
  }
  ++shares_used_;
  return absl::OkStatus();
}

absl::Status LaneQueues::PostBuffers() {
  if (returned_.empty()) return absl::OkStatus();
  const size_t count = returned_.size();
  if (works_.size() < count) {
    works_.resize(count);
    entries_.resize(count);
  }
  for (size_t i = 0; i < count; ++i) {
    const Slab& slab = receives_[returned_[i] / kReceiveShare];
    entries_[i] = {reinterpret_cast<uint64_t>(slab.bytes + Offset(returned_[i])), kVerbsMessageBytesMax,
                   slab.region->lkey};
    works_[i] = {returned_[i], i + 1 < count ? &works_[i + 1] : nullptr, &entries_[i], 1};
  }
  returned_.clear();
  ibv_recv_wr* refused = nullptr;
  const int error = ibv_post_srq_recv(shared_, works_.data(), &refused);
  if (error == 0) return absl::OkStatus();
  for (const ibv_recv_wr* work = refused; work != nullptr; work = work->next) returned_.push_back(work->wr_id);
  return ErrnoStatus(error, absl::StrCat("verbs ", device_.opened.name, ": ibv_post_srq_recv"));
}

bool LaneQueues::TakeSlot(StagingSlot* slot) {
  if (free_slots_.empty()) {
    if (slabs_.size() * kSlotsPerSlab >= kStagingSlotsMax) return false;
    absl::StatusOr<Slab> slab = MakeSlab(kSlotsPerSlab);
    if (!slab.ok()) {
      network_.logger().LogOnce(LogLevel::kWarning, "verbs ", device_.opened.name, ": ", slab.status().message());
      return false;
    }
    slabs_.push_back(*std::move(slab));
    for (uint32_t i = 0; i < kSlotsPerSlab; ++i) {
      free_slots_.push_back(static_cast<uint32_t>(slabs_.size()) * kSlotsPerSlab - 1 - i);
    }
  }
  slot->index = free_slots_.back();
  free_slots_.pop_back();
  const Slab& slab = slabs_[slot->index / kSlotsPerSlab];
  slot->bytes = slab.bytes + size_t{slot->index % kSlotsPerSlab} * kVerbsMessageBytesMax;
  slot->lkey = slab.region->lkey;
  return true;
}

absl::StatusOr<ibv_qp*> LaneQueues::CreateQueuePair(void* context) {
  absl::Status why;
  for (const uint32_t inline_bytes : kInlineBytes) {
    ibv_qp_init_attr attributes = {};
    attributes.qp_context = context;
    attributes.send_cq = send_;
    attributes.recv_cq = receive_;
    attributes.srq = shared_;
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap.max_send_wr = kSendQueueDepth;
    attributes.cap.max_send_sge = 2;  // a header in its slot, payload where it lies
    attributes.cap.max_inline_data = inline_bytes;
    absl::StatusOr<ibv_qp*> qp = network_.calls().CreateQueuePair(device_.domain, &attributes);
    if (qp.ok()) {
      inline_bytes_max_ = inline_bytes;
      return qp;
    }
    why = qp.status();
  }
  return why;
}

}  // namespace mcp::internal
