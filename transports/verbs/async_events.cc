#include "transports/verbs/async_events.h"

#include <utility>

#include "transports/verbs/faults.h"

namespace mcp::internal {
namespace {

using Scope = AsyncFault::Scope;

// Null: the device, or one of its ports.
const void* Subject(const ibv_async_event& event) {
  switch (FaultOf(event.event_type).scope) {
    case Scope::kQueuePair:
      return event.element.qp;
    case Scope::kCompletionQueue:
      return event.element.cq;
    case Scope::kReceiveQueue:
      return event.element.srq;
    case Scope::kWorkQueue:
      return event.element.wq;
    case Scope::kPort:
    case Scope::kDevice:
      return nullptr;
  }
  return nullptr;
}

}  // namespace

void AsyncEvents::Listen(const void* owner, const ibv_context* context, Listener listener) {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.push_back({owner, context, std::move(listener)});
}

void AsyncEvents::StopListening(const void* owner) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(entries_, [owner](const Entry& entry) { return entry.owner == owner; });
  absl::erase_if(owners_, [owner](const auto& object) { return object.second == owner; });
}

void AsyncEvents::Own(const void* owner, const void* object) {
  const std::lock_guard<std::mutex> lock(mutex_);
  owners_[object] = owner;
}

void AsyncEvents::Disown(const void* object) {
  const std::lock_guard<std::mutex> lock(mutex_);
  owners_.erase(object);
}

void AsyncEvents::Deliver(const ibv_context* context, const ibv_async_event& event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const void* const subject = Subject(event);
  const auto made_by = owners_.find(subject);
  if (subject != nullptr && made_by == owners_.end()) return;
  for (Entry& entry : entries_) {
    if (entry.context == context && (subject == nullptr || entry.owner == made_by->second)) entry.listener(event);
  }
}

}  // namespace mcp::internal
