// Whose is what a device reports?
//
// librdmacm opens a device once for the whole process, so whoever reads a context's asynchronous events takes
// everybody's: those of other engines, and of queue pairs that somebody else made by the same library. Who made what is
// therefore known here; what nobody made is nobody's, and what concerns the device or a port is everybody's who
// listens.
//
// Thread rule: any thread. A listener is called by whichever thread has read the event, under the lock: it calls
// nothing of this class.
#ifndef MCP_TRANSPORTS_VERBS_ASYNC_EVENTS_H_
#define MCP_TRANSPORTS_VERBS_ASYNC_EVENTS_H_

#include <infiniband/verbs.h>

#include <mutex>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"

namespace mcp::internal {

class AsyncEvents {
 public:
  using Listener = absl::AnyInvocable<void(const ibv_async_event&)>;

  // One of each owner a context, until StopListening: no call is under way when that returns.
  void Listen(const void* owner, const ibv_context* context, Listener listener);
  // Its objects are nobody's from then on.
  void StopListening(const void* owner);

  // `object`: a queue pair, completion queue or shared receive queue; disowned before it is destroyed.
  void Own(const void* owner, const void* object);
  void Disown(const void* object);

  // Before the event is acknowledged: until then what it names is not destroyed.
  void Deliver(const ibv_context* context, const ibv_async_event& event);

 private:
  struct Entry {
    const void* owner;
    const ibv_context* context;
    Listener listener;
  };

  std::mutex mutex_;
  std::vector<Entry> entries_;
  absl::flat_hash_map<const void*, const void*> owners_;  // of objects
};

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_VERBS_ASYNC_EVENTS_H_
