#include <algorithm>
#include <utility>

#include "transports/fault/device.h"

namespace mcp::internal {

size_t FaultTransport::Poll(absl::Span<Event> events) {
  if (inert_) return inner_->Poll(events);
  rush_ = false;
  if (held_ > 0) ReleaseHeld();
  size_t used = 0;
  for (; used < events.size() && !sent_.empty(); ++used) {
    events[used] = std::move(sent_.front());
    sent_.pop_front();
  }
  const size_t room = events.size() - used;
  const size_t polled = inner_->Poll(events.subspan(used, PartOf(FaultKind::kPartialPoll, room, 1)));
  size_t kept = used;
  for (size_t i = used; i < used + polled; ++i) {
    if (!Translate(&events[i])) continue;
    if (kept != i) events[kept] = std::move(events[i]);
    ++kept;
  }
  return kept;
}

// False for events that are not the caller's.
bool FaultTransport::Translate(Event* event) {
  if (event->kind == Event::Kind::kClosed) {
    Forget(event->connection);
    for (size_t i = 0; i < records_.size(); ++i) {
      if (!records_[i].used || records_[i].connection != event->connection) continue;
      records_[i] = Record();
      free_records_.push_back(static_cast<uint32_t>(i));
    }
    std::erase_if(sent_, [event](const Event& sent) { return sent.connection == event->connection; });
    return true;
  }
  if (event->kind != Event::Kind::kSent) return true;
  Record& record = records_[event->work_id];
  const bool signaled = record.signaled;
  const uint64_t work_id = record.work_id;
  free_records_.push_back(static_cast<uint32_t>(event->work_id));
  record = Record();
  event->work_id = work_id;
  return signaled;
}

void FaultTransport::Wait(int64_t deadline_ns) {
  if (rush_ || !sent_.empty()) return;
  if (held_ > 0) {
    for (const Channel& channel : channels_) {
      if (!channel.line.empty()) deadline_ns = std::min(deadline_ns, channel.line.front().release_ns);
      for (const OwnedWork& owned : channel.aside) deadline_ns = std::min(deadline_ns, owned.release_ns);
    }
  }
  inner_->Wait(deadline_ns);
}

// A reordered message follows once enough others have passed it.
void FaultTransport::CountPost(Channel* channel) {
  for (size_t i = 0; i < channel->aside.size();) {
    OwnedWork& owned = channel->aside[i];
    if (--owned.posts_left > 0) {
      ++i;
      continue;
    }
    OwnedWork follows = std::move(owned);
    channel->aside.erase(channel->aside.begin() + static_cast<std::ptrdiff_t>(i));
    channel->held_bytes -= follows.payload.size();
    --held_;
    follows.release_ns = 0;
    Enqueue(std::move(follows));
  }
}

void FaultTransport::ReleaseHeld() {
  const int64_t now_ns = clock_->NowNs();
  for (Channel& channel : channels_) ReleaseHeldOf(&channel, now_ns);
}

void FaultTransport::ReleaseHeldOf(Channel* channel, int64_t now_ns) {
  const bool all = ledger_->stopped();
  for (size_t i = 0; i < channel->aside.size();) {
    if (!all && channel->aside[i].release_ns > now_ns) {
      ++i;
      continue;
    }
    // From aside to the end of the line: held all the same.
    channel->line.push_back(std::move(channel->aside[i]));
    channel->line.back().release_ns = 0;
    channel->aside.erase(channel->aside.begin() + static_cast<std::ptrdiff_t>(i));
  }
  while (!channel->line.empty() && (all || channel->line.front().release_ns <= now_ns)) {
    const uint64_t bytes = channel->line.front().payload.size();
    if (!Submit(&channel->line.front())) return;
    channel->line.pop_front();
    channel->held_bytes -= bytes;
    --held_;
  }
}

}  // namespace mcp::internal
