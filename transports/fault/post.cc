#include <algorithm>
#include <cstring>
#include <utility>

#include "transports/fault/device.h"

namespace mcp::internal {

namespace {

// What devices do alone is whole and in order, or ends its connection; and there is no copy of a fetch to work on.
bool OneSided(const WorkRequest& work) {
  return work.kind == WorkRequest::Kind::kPlace || work.kind == WorkRequest::Kind::kFetch;
}

}  // namespace

size_t FaultTransport::Post(absl::Span<const WorkRequest> batch) {
  if (inert_) return inner_->Post(batch);
  const size_t most = PartOf(FaultKind::kPartialPost, batch.size(), 0);
  if (most < batch.size()) rush_ = true;
  for (size_t taken = 0; taken < most; ++taken) {
    if (!PostOne(batch[taken])) return taken;
  }
  return most;
}

// How much of `count` the call is to handle: all, or by plan between `least` and less than all.
size_t FaultTransport::PartOf(FaultKind kind, size_t count, size_t least) {
  const double rate = ledger_->plan().rate(kind);
  if (rate == 0 || count <= least || random_.Unit() >= rate || !ledger_->Take(kind)) return count;
  return least + random_.Below(count - least);
}

bool FaultTransport::Applies(FaultKind kind, const WorkRequest& work) const {
  const bool message = work.kind == WorkRequest::Kind::kMessage;
  const uint32_t target = message ? kFaultTargetMessages : kFaultTargetWrites;
  if ((ledger_->plan().targets & target) == 0) return false;
  if (OneSided(work)) return kind == FaultKind::kKill;
  switch (kind) {
    case FaultKind::kReorder:
    case FaultKind::kDuplicate:
      return message;
    case FaultKind::kCorruptHeader:
      return work.header_bytes > 0;
    case FaultKind::kCorruptPayload:
      return message && work.payload_bytes > 0;
    case FaultKind::kCorruptWrite:
      return !message && work.payload_bytes > 0;
    case FaultKind::kTruncate:
      return work.header_bytes > 0 || work.payload_bytes > 0;
    case FaultKind::kPartialPost:
    case FaultKind::kPartialPoll:
    case FaultKind::kCorruptHello:
      return false;
    default:
      return true;
  }
}

std::optional<FaultKind> FaultTransport::Roll(const WorkRequest& work) {
  const FaultPlan& plan = ledger_->plan();
  if (plan.only_connection.has_value() && work.connection != *plan.only_connection) return std::nullopt;
  double chance = random_.Unit();
  if (++work_seen_ <= plan.spared_first) return std::nullopt;
  for (size_t i = 0; i < kFaultKinds; ++i) {
    const FaultKind kind = static_cast<FaultKind>(i);
    if (plan.rates[i] == 0 || !Applies(kind, work)) continue;
    if (chance < plan.rates[i]) {
      if (!ledger_->Take(kind)) return std::nullopt;
      return kind;
    }
    chance -= plan.rates[i];
  }
  return std::nullopt;
}

bool FaultTransport::PostOne(const WorkRequest& work) {
  Channel& channel = ChannelOf(work.connection);
  if (channel.killed) return true;  // lost with its connection
  if (channel.line.size() + channel.aside.size() >= kHeldMax || channel.held_bytes >= kHeldBytesMax) return false;
  const std::optional<FaultKind> fault = Roll(work);
  if (!fault.has_value() && (channel.line.empty() || OneSided(work))) {
    if (!PostUnchanged(work)) return false;
  } else if (!fault.has_value()) {
    Enqueue(CopyOf(work));
  } else if (*fault == FaultKind::kKill) {
    Forget(work.connection);
    channel.killed = true;
    inner_->Close(work.connection, absl::UnavailableError("fault: the connection was killed by plan"));
    return true;
  } else {
    PostFaulty(*fault, work);
  }
  CountPost(&channel);
  return true;
}

bool FaultTransport::PostUnchanged(const WorkRequest& work) {
  if (!work.signaled) return inner_->Post({&work, 1}) == 1;
  WorkRequest named = work;
  named.work_id = TakeRecord(work);
  if (inner_->Post({&named, 1}) == 1) return true;
  records_[named.work_id].used = false;
  free_records_.push_back(static_cast<uint32_t>(named.work_id));
  return false;
}

void FaultTransport::PostFaulty(FaultKind kind, const WorkRequest& work) {
  OwnedWork owned = CopyOf(work);
  switch (kind) {
    case FaultKind::kDrop:
      if (work.signaled) {
        Event& sent = sent_.emplace_back();
        sent.kind = Event::Kind::kSent;
        sent.connection = work.connection;
        sent.context = ChannelOf(work.connection).context;
        sent.work_id = work.work_id;
      }
      return;
    case FaultKind::kDelay:
      owned.release_ns = clock_->NowNs() + 1 +
                         static_cast<int64_t>(random_.Below(static_cast<uint64_t>(ledger_->plan().delay_ns_max)));
      break;
    case FaultKind::kReorder:
      SetAside(std::move(owned), 1 + static_cast<uint32_t>(random_.Below(ledger_->plan().reorder_distance_max)));
      return;
    case FaultKind::kDuplicate: {
      OwnedWork second = CopyOf(work);
      second.work.signaled = false;
      Enqueue(std::move(owned));
      if (random_.Below(2) == 0) {
        Enqueue(std::move(second));
      } else {
        SetAside(std::move(second), static_cast<uint32_t>(kHeldMax));  // comes by time
      }
      return;
    }
    case FaultKind::kCorruptHeader:
      Damage(&owned.header);
      break;
    case FaultKind::kCorruptPayload:
    case FaultKind::kCorruptWrite:
      Damage(&owned.payload);
      break;
    case FaultKind::kTruncate:
      Truncate(&owned);
      break;
    default:
      break;
  }
  Enqueue(std::move(owned));
}

void FaultTransport::Enqueue(OwnedWork owned) {
  Channel& channel = ChannelOf(owned.work.connection);
  if (channel.line.empty() && owned.release_ns == 0 && Submit(&owned)) return;
  channel.held_bytes += owned.payload.size();
  channel.line.push_back(std::move(owned));
  ++held_;
}

int64_t FaultTransport::SomeTimeFromNow() {
  const int64_t most_ns = std::max<int64_t>(ledger_->plan().delay_ns_max, 1);
  return clock_->NowNs() + 1 + static_cast<int64_t>(random_.Below(static_cast<uint64_t>(most_ns)));
}

void FaultTransport::SetAside(OwnedWork owned, uint32_t posts) {
  Channel& channel = ChannelOf(owned.work.connection);
  owned.posts_left = posts + 1;  // its own post counts too
  owned.release_ns = SomeTimeFromNow();
  channel.held_bytes += owned.payload.size();
  channel.aside.push_back(std::move(owned));
  ++held_;
}

bool FaultTransport::Submit(OwnedWork* owned) {
  const uint32_t index = TakeRecord(owned->work);
  Record& record = records_[index];
  record.owned = std::move(*owned);
  WorkRequest& work = record.owned.work;
  work.header = record.owned.header.data();
  work.header_bytes = static_cast<uint32_t>(record.owned.header.size());
  work.payload = record.owned.payload.data();
  work.registered = nullptr;  // the original's
  work.payload_bytes = record.owned.payload.size();
  work.work_id = index;
  work.signaled = true;  // says when our copy may go
  if (inner_->Post({&work, 1}) == 1) return true;
  work.signaled = record.signaled;
  work.work_id = record.work_id;
  *owned = std::move(record.owned);
  record.used = false;
  free_records_.push_back(index);
  return false;
}

uint32_t FaultTransport::TakeRecord(const WorkRequest& work) {
  if (free_records_.empty()) {
    free_records_.push_back(static_cast<uint32_t>(records_.size()));
    records_.emplace_back();
  }
  const uint32_t index = free_records_.back();
  free_records_.pop_back();
  Record& record = records_[index];
  record = Record();
  record.used = true;
  record.signaled = work.signaled;
  record.work_id = work.work_id;
  record.connection = work.connection;
  return index;
}

OwnedWork FaultTransport::CopyOf(const WorkRequest& work) {
  OwnedWork owned;
  owned.work = work;
  owned.header.assign(work.header, work.header + work.header_bytes);
  owned.payload.assign(work.payload, work.payload + work.payload_bytes);
  return owned;
}

// One to three bytes, at random places; never none.
void FaultTransport::Damage(std::vector<std::byte>* bytes) {
  const uint64_t first = random_.Below(bytes->size());
  (*bytes)[first] ^= static_cast<std::byte>(1 + random_.Below(255));
  for (uint64_t more = random_.Below(3); more > 0; --more) {
    const uint64_t at = random_.Below(bytes->size());
    if (at != first) (*bytes)[at] ^= static_cast<std::byte>(1 + random_.Below(255));
  }
}

void FaultTransport::Truncate(OwnedWork* owned) {
  std::vector<std::byte>& bytes = owned->payload.empty() ? owned->header : owned->payload;
  bytes.resize(random_.Below(bytes.size()));
}

}  // namespace mcp::internal
