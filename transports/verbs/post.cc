// Posting. Budget of a small message: one copy, into the work request (inline) or a staging slot. Of a write: a work
// request for the payload and one for the header; of one-sided work: one work request. Memory of a region brings its
// registration along; for other memory it is looked up, at two atomic operations.
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "lib/base/assert.h"
#include "lib/base/errno_status.h"
#include "transports/verbs/device.h"

namespace mcp::internal {
namespace {

// Payload of messages up to here is copied to its header; longer payload leaves from where it lies if that is
// registered.
constexpr uint64_t kCopyBytesMax = 1024;
// Requests without a completion that hold staging slots: at most so many.
constexpr uint32_t kUnsignaledStagedMax = 16;

bool WorkFits(const WorkRequest& work, const TransportInfo& info) {
  const bool write = work.kind != WorkRequest::Kind::kMessage;
  const uint64_t most = write ? info.write_bytes_max : info.message_bytes_max - work.header_bytes;
  return ABSL_PREDICT_TRUE(work.header_bytes <= kHeaderBytesMax && work.payload_bytes <= most);
}

ABSL_ATTRIBUTE_NOINLINE absl::Status WorkError(const WorkRequest& work) {
  const bool write = work.kind != WorkRequest::Kind::kMessage;
  return absl::InvalidArgumentError(absl::StrCat("verbs: post a ", write ? "write" : "message", " of ",
                                                 work.header_bytes, " header bytes and ", work.payload_bytes,
                                                 " payload bytes: more than TransportInfo allows"));
}

// `length` bytes of the payload, from `offset` on.
inline void SetPiece(const VerbsConnection& connection, const WorkRequest& work, ibv_wr_opcode opcode, uint64_t offset,
                     uint64_t length, uint32_t lkey, ibv_send_wr* wr) {
  wr->opcode = opcode;
  wr->wr.rdma.remote_addr = work.window.address + work.offset + offset;
  wr->wr.rdma.rkey = work.window.rkey(connection.remote_device);
  wr->num_sge = 1;
  wr->sg_list[0] = {reinterpret_cast<uint64_t>(work.payload + offset), static_cast<uint32_t>(length), lkey};
}

}  // namespace

inline ibv_send_wr& VerbsTransport::NextInChain(VerbsConnection& connection) {
  chain_owner_ = &connection;
  ibv_send_wr& wr = chain_[chain_length_];
  wr.wr_id = SendWorkId(connection, connection.sends.posted());
  wr.send_flags = 0;
  ++chain_length_;
  connection.sends.Add();
  ++connection.unsignaled;
  return wr;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline void VerbsTransport::Doorbell(VerbsConnection& connection) {
  const size_t count = std::exchange(chain_length_, 0);
  chain_owner_ = nullptr;
  if (count == 0) return;
  if (chain_waits_) AskForCompletion(connection, &chain_[count - 1]);
  ibv_send_wr* const behind = std::exchange(chain_[count - 1].next, nullptr);
  ibv_send_wr* refused = nullptr;
  const int error = ibv_post_send(connection.qp, chain_.data(), &refused);
  chain_[count - 1].next = behind;
  if (ABSL_PREDICT_TRUE(error == 0)) return;
  const size_t accepted = refused == nullptr ? 0 : static_cast<size_t>(refused - chain_.data());
  OnPostRefused(connection, static_cast<uint32_t>(count - accepted), error);
}

void VerbsTransport::Ring(VerbsConnection& connection) { Doorbell(connection); }

size_t VerbsTransport::Post(absl::Span<const WorkRequest> batch) {
  size_t taken = 0;
  for (; taken < batch.size(); ++taken) {
    const WorkRequest& work = batch[taken];
    VerbsConnection* connection = Find(work.connection);
    if (connection == nullptr) continue;  // lost with its connection
    if (chain_owner_ != connection && chain_owner_ != nullptr) Ring(*chain_owner_);
    if (connection->state != State::kOpen) {
      if (connection->connecting()) break;
      continue;
    }
    if (const size_t plain = AppendPlain(*connection, batch.subspan(taken)); plain > 0) {
      taken += plain - 1;
      continue;
    }
    if (!WorkFits(work, info_)) {
      if (chain_owner_ != nullptr) Ring(*chain_owner_);
      BeginClose(*connection, WorkError(work), true);
      continue;
    }
    if (!Append(*connection, work)) break;
  }
  if (chain_owner_ != nullptr) Doorbell(*chain_owner_);
  return taken;
}

// False: no room, of one kind or another; nothing was taken.
ABSL_ATTRIBUTE_NOINLINE bool VerbsTransport::Append(VerbsConnection& connection, const WorkRequest& work) {
  if (work.kind >= WorkRequest::Kind::kPlace) return AppendOneSided(connection, work);
  if (connection.credit == 0) return false;
  if (work.kind == WorkRequest::Kind::kWrite) return AppendWrite(connection, work);
  if (connection.sends.room() <= kSendQueueReserve) return false;
  if (chain_length_ == kChainMax) Ring(connection);
  if (ABSL_PREDICT_FALSE(connection.state != State::kOpen)) return true;
  return AppendMessage(connection, work, MessageType::kPlain);
}

// The longest piece of the work: what the device takes, or less if that was asked for.
uint64_t VerbsTransport::PieceBytes(const VerbsConnection& connection, const WorkRequest& work) const {
  const uint64_t most = connection.device->port_attributes.max_msg_sz;
  if (ABSL_PREDICT_TRUE(work.kind != WorkRequest::Kind::kWrite || work.request_bytes == 0)) return most;
  const uint64_t least = (work.payload_bytes + kWritePiecesMax - 1) / kWritePiecesMax;
  return std::min(most, std::max(work.request_bytes, least));
}

uint64_t VerbsTransport::PiecesOf(const VerbsConnection& connection, const WorkRequest& work) const {
  const uint64_t piece_max = PieceBytes(connection, work);
  if (ABSL_PREDICT_TRUE(work.payload_bytes <= piece_max)) return work.payload_bytes > 0 ? 1 : 0;
  return (work.payload_bytes + piece_max - 1) / piece_max;
}

bool VerbsTransport::AppendWrite(VerbsConnection& connection, const WorkRequest& work) {
  const uint64_t pieces = PiecesOf(connection, work);
  if (connection.sends.room() <= pieces + kSendQueueReserve) return false;
  if (chain_length_ + pieces + 1 > kChainMax) Ring(connection);
  if (ABSL_PREDICT_FALSE(connection.state != State::kOpen)) return true;
  WorkRequest header = work;
  header.payload_bytes = 0;
  if (pieces == 0) return AppendMessage(connection, header, MessageType::kWithWrite);
  // The header's slot, if it needs one, must be there before anything is chained.
  StagingSlot slot;
  if (work.header_bytes > connection.inline_bytes_max) {
    if (!connection.queues->TakeSlot(&slot)) return false;
    connection.queues->ReturnSlot(slot.index);
  }
  PayloadKey key;
  if (!FindPayload(connection, work, &key)) return true;
  ChainPieces(connection, work, IBV_WR_RDMA_WRITE, std::move(key));
  if (work.registered != nullptr) HoldRegion(connection, *work.registered);
  return AppendMessage(connection, header, MessageType::kWithWrite);
}

// One-sided work in one piece, from memory whose registration came along: what most of it is. Takes those at the head
// of `works` that are it, go by this connection and have room; as many as that are.
inline size_t VerbsTransport::AppendPlain(VerbsConnection& connection, absl::Span<const WorkRequest> works) {
  const uint64_t bytes_max = connection.plain_bytes_max;
  const size_t device = connection.device->index;
  const uint64_t first_id = SendWorkId(connection, 0);
  const uint32_t room = connection.sends.room();
  const size_t room_for = room > kOneSidedReserve ? room - kOneSidedReserve : 0;
  const size_t most = std::min({works.size(), kChainMax - chain_length_, room_for});
  size_t taken = 0;
  for (; taken < most; ++taken) {
    const WorkRequest& work = works[taken];
    const bool plain = work.kind >= WorkRequest::Kind::kPlace && work.connection == connection.id &&
                       work.registered != nullptr && work.payload_bytes <= bytes_max;
    if (!plain) break;
    MCP_ASSERT(work.payload_bytes > 0);
    const bool place = work.kind == WorkRequest::Kind::kPlace;
    const bool is_inline = place && work.payload_bytes <= connection.inline_bytes_max;
    ibv_send_wr& wr = chain_[chain_length_ + taken];
    wr.wr_id = first_id | connection.sends.posted();
    wr.send_flags = is_inline ? IBV_SEND_INLINE : 0;
    SetPiece(connection, work, place ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ, 0, work.payload_bytes,
             VerbsMemory::LocalKey(*work.registered, device), &wr);
    PostedWork& posted = connection.sends.Add();
    posted.one_sided = true;
    posted.work_id = work.work_id;
    chain_waits_ = true;
    if (++connection.unsignaled >= kUnsignaledMax) AskForCompletion(connection, &wr);
  }
  if (taken > 0) chain_owner_ = &connection;
  chain_length_ += taken;
  return taken;
}

// The rest of it: in pieces, or from memory that is looked up. Needs no credit: nothing of it is received. The last of
// a doorbell asks for a completion, as does every 32nd.
bool VerbsTransport::AppendOneSided(VerbsConnection& connection, const WorkRequest& work) {
  const bool place = work.kind == WorkRequest::Kind::kPlace;
  const bool is_inline = place && work.payload_bytes <= connection.inline_bytes_max;
  const uint64_t pieces = PiecesOf(connection, work);
  MCP_ASSERT(pieces > 0);
  if (connection.sends.room() < pieces + kOneSidedReserve) return false;
  if (chain_length_ + pieces > kChainMax) Ring(connection);
  if (ABSL_PREDICT_FALSE(connection.state != State::kOpen)) return true;
  const ibv_wr_opcode opcode = place ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
  PayloadKey key;
  if (!FindPayload(connection, work, &key)) return true;
  ibv_send_wr* const last = &ChainPieces(connection, work, opcode, std::move(key));
  if (is_inline) last->send_flags = IBV_SEND_INLINE;
  PostedWork& posted = connection.sends.At(connection.sends.posted() - 1);
  posted.one_sided = true;
  posted.work_id = work.work_id;
  chain_waits_ = true;
  if (connection.unsignaled >= kUnsignaledMax) AskForCompletion(connection, last);
  return true;
}

// False: it cannot be registered, and the connection is given up.
bool VerbsTransport::FindPayload(VerbsConnection& connection, const WorkRequest& work, PayloadKey* key) {
  const size_t device = connection.device->index;
  if (ABSL_PREDICT_TRUE(work.registered != nullptr)) {
    key->lkey = VerbsMemory::LocalKey(*work.registered, device);
    return true;
  }
  VerbsMemory& memory = network_->verbs_memory();
  key->held = memory.FindLocal(work.payload, work.payload_bytes);
  if (!key->held.valid()) {
    absl::StatusOr<Registration> made = memory.RegisterOnce(work.payload, work.payload_bytes, &key->transient);
    if (!made.ok()) {
      if (chain_owner_ != nullptr) Ring(connection);
      BeginClose(connection, made.status(), true);
      return false;
    }
    key->held = *std::move(made);
  }
  key->lkey = VerbsMemory::LocalKey(key->held, device);
  return true;
}

// Returns the last piece, which holds what is held for all: those before it are done no later.
ibv_send_wr& VerbsTransport::ChainPieces(VerbsConnection& connection, const WorkRequest& work, ibv_wr_opcode opcode,
                                         PayloadKey key) {
  const uint64_t piece_max = PieceBytes(connection, work);
  ibv_send_wr* last = nullptr;
  for (uint64_t offset = 0; offset < work.payload_bytes; offset += piece_max) {
    last = &NextInChain(connection);
    SetPiece(connection, work, opcode, offset, std::min(piece_max, work.payload_bytes - offset), key.lkey, last);
  }
  PostedWork& posted = connection.sends.At(connection.sends.posted() - 1);
  posted.registered = std::move(key.held);
  posted.transient = key.transient;
  return *last;
}

// What the latest request reads is acknowledged by the peer's rail, which does not mean that the device is through with
// it: where its own acknowledgement was lost, it sends again.
inline void VerbsTransport::HoldRegion(VerbsConnection& connection, const DeviceMemory::Grant& region) {
  connection.sends.At(connection.sends.posted() - 1).held = static_cast<const VerbsGrant&>(region).Hold();
  connection.holds_unseen = true;
}

// Of payload that leaves from where it lies if it can, and may be copied.
inline bool VerbsTransport::FindWithoutMaking(VerbsConnection& connection, const WorkRequest& work, PostedWork& posted,
                                              uint32_t* lkey) {
  if (ABSL_PREDICT_TRUE(work.registered != nullptr)) {
    *lkey = VerbsMemory::LocalKey(*work.registered, connection.device->index);
    HoldRegion(connection, *work.registered);
    return true;
  }
  posted.registered = network_->verbs_memory().FindLocal(work.payload, work.payload_bytes);
  if (!posted.registered.valid()) return false;
  *lkey = VerbsMemory::LocalKey(posted.registered, connection.device->index);
  return true;
}

bool VerbsTransport::AppendMessage(VerbsConnection& connection, const WorkRequest& work, MessageType type) {
  const uint64_t total = work.header_bytes + work.payload_bytes;
  const bool is_inline = total <= connection.inline_bytes_max;
  StagingSlot slot;
  if (!is_inline && !connection.queues->TakeSlot(&slot)) return false;
  ibv_send_wr& wr = NextInChain(connection);
  PostedWork& posted = connection.sends.At(connection.sends.posted() - 1);
  if (is_inline) {
    wr.send_flags = IBV_SEND_INLINE;
    wr.sg_list[0] = {reinterpret_cast<uint64_t>(work.header), work.header_bytes, 0};
    wr.sg_list[1] = {reinterpret_cast<uint64_t>(work.payload), static_cast<uint32_t>(work.payload_bytes), 0};
    wr.num_sge = work.payload_bytes > 0 ? 2 : total > 0 ? 1 : 0;
  } else {
    posted.staging = slot.index;
    ++connection.unsignaled_staged;
    if (work.header_bytes > 0) std::memcpy(slot.bytes, work.header, work.header_bytes);
    uint32_t lkey = 0;
    const bool in_place = work.payload_bytes > kCopyBytesMax && FindWithoutMaking(connection, work, posted, &lkey);
    if (in_place) {
      wr.sg_list[0] = {reinterpret_cast<uint64_t>(slot.bytes), work.header_bytes, slot.lkey};
      wr.sg_list[1] = {reinterpret_cast<uint64_t>(work.payload), static_cast<uint32_t>(work.payload_bytes), lkey};
      wr.num_sge = 2;
    } else {
      if (work.payload_bytes > 0) std::memcpy(slot.bytes + work.header_bytes, work.payload, work.payload_bytes);
      wr.sg_list[0] = {reinterpret_cast<uint64_t>(slot.bytes), static_cast<uint32_t>(total), slot.lkey};
      wr.num_sge = 1;
    }
  }
  --connection.credit;
  posted.reports = work.signaled;
  posted.work_id = work.work_id;
  FinishSend(connection, &wr, type, work.signaled);
  return true;
}

void VerbsTransport::FinishSend(VerbsConnection& connection, ibv_send_wr* wr, MessageType type, bool signaled) {
  const uint32_t credit = std::exchange(connection.owed, 0);
  wr->opcode = IBV_WR_SEND_WITH_IMM;
  wr->imm_data = htonl(EncodeImmediate({type, credit}));
  if (signaled || connection.unsignaled >= kUnsignaledMax || connection.unsignaled_staged >= kUnsignaledStagedMax) {
    AskForCompletion(connection, wr);
  }
}

void VerbsTransport::AskForCompletion(VerbsConnection& connection, ibv_send_wr* work) {
  work->send_flags |= IBV_SEND_SIGNALED;
  connection.holds_unseen = false;
  connection.unsignaled = 0;
  connection.unsignaled_staged = 0;
  chain_waits_ = false;
}

// The last `lost` that were posted are not with the device.
ABSL_ATTRIBUTE_NOINLINE void VerbsTransport::OnPostRefused(VerbsConnection& connection, uint32_t lost, int error) {
  connection.sends.TakeBack(lost);
  for (uint32_t i = 0; i < lost; ++i) {
    PostedWork& work = connection.sends.At(connection.sends.posted() + i);
    work.reports = work.one_sided = false;
    Retire(connection, work, false);
  }
  BeginClose(connection,
             ErrnoStatus(error > 0 ? error : EIO, absl::StrCat("verbs: ibv_post_send to ", connection.remote_address)),
             false);
}

// A message of the transport itself, beside the credit. Its completion is asked for.
bool VerbsTransport::PostOwn(VerbsConnection& connection, MessageType type, absl::Span<const std::byte> bytes) {
  // The last place is the marker's, the one before it the goodbye's.
  if (connection.sends.room() <= (type == MessageType::kGoodbye ? 1u : 2u)) return false;
  const bool is_inline = bytes.size() <= connection.inline_bytes_max;
  StagingSlot slot;
  if (!is_inline && !connection.queues->TakeSlot(&slot)) return false;
  ibv_send_wr& wr = NextInChain(connection);
  wr.num_sge = bytes.empty() ? 0 : 1;
  if (is_inline) {
    wr.send_flags = IBV_SEND_INLINE;
    wr.sg_list[0] = {reinterpret_cast<uint64_t>(bytes.data()), static_cast<uint32_t>(bytes.size()), 0};
  } else {
    connection.sends.At(connection.sends.posted() - 1).staging = slot.index;
    std::memcpy(slot.bytes, bytes.data(), bytes.size());
    wr.sg_list[0] = {reinterpret_cast<uint64_t>(slot.bytes), static_cast<uint32_t>(bytes.size()), slot.lkey};
  }
  FinishSend(connection, &wr, type, true);
  Ring(connection);
  return connection.state == State::kOpen || connection.state == State::kLeaving;
}

// A write of nothing, to have a completion that tells of all before it. False: no room yet.
bool VerbsTransport::PostEmptyWrite(VerbsConnection& connection) {
  if (connection.sends.room() <= kSendQueueReserve) return false;
  ibv_send_wr& wr = NextInChain(connection);
  wr.opcode = IBV_WR_RDMA_WRITE;
  wr.num_sge = 0;
  wr.wr.rdma = {};
  AskForCompletion(connection, &wr);
  Ring(connection);
  return true;
}

// Regions were let go of that requests without a completion hold: nothing else might ever follow these.
void VerbsTransport::SeeHoldsThrough() {
  holds_waiting_ = false;
  for (const std::unique_ptr<VerbsConnection>& connection : connections_) {
    if (connection->state != State::kOpen || !connection->holds_unseen) continue;
    if (!PostEmptyWrite(*connection)) holds_waiting_ = true;
  }
}

// A request that a failed queue pair gives back behind all others.
bool VerbsTransport::PostMarker(VerbsConnection& connection) {
  if (connection.sends.room() == 0) return false;
  ibv_send_wr marker = {};
  marker.wr_id = SendWorkId(connection, connection.sends.posted());
  marker.opcode = IBV_WR_SEND;
  marker.send_flags = IBV_SEND_SIGNALED;
  ibv_send_wr* refused = nullptr;
  if (ibv_post_send(connection.qp, &marker, &refused) != 0) return false;
  connection.sends.Add();
  return true;
}

// Tells peers of receive buffers that are free again, where no message of ours took the credit along.
void VerbsTransport::PayCredit() {
  size_t kept = 0;
  for (const ConnectionId id : owing_) {
    VerbsConnection& connection = *connections_[id];
    connection.owes_listed = false;
    if (connection.state != State::kOpen || connection.owed < connection.credits / 2) continue;
    if (PostOwn(connection, MessageType::kCredit, {}) || connection.state != State::kOpen) continue;
    connection.owes_listed = true;
    owing_[kept++] = id;
  }
  owing_.resize(kept);
}

}  // namespace mcp::internal
