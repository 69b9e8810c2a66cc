// The fake device's objects: each begins with the library's own struct, which is what the transport holds.
#ifndef MCP_TESTS_SUPPORT_FAKE_VERBS_OBJECTS_H_
#define MCP_TESTS_SUPPORT_FAKE_VERBS_OBJECTS_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "tests/support/fake_verbs.h"

namespace mcp::internal {

// A descriptor that is readable while its queue holds something.
struct FakeSignal {
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  std::atomic<bool> stuck{false};  // readable from then on
  ~FakeSignal() { close(fd); }
  void Set() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof(one));
  }
  void Clear() {
    if (stuck) return;
    uint64_t count;
    [[maybe_unused]] const ssize_t bytes = read(fd, &count, sizeof(count));
  }
};

class FakeCalls;

struct FakeContext {
  ibv_context context = {};
  FakeCalls* host = nullptr;
  uint8_t number = 0;
  ibv_device device = {};
  FakeFabric* fabric = nullptr;
  FakeSignal signal;
  std::deque<ibv_async_event> events;
  std::multiset<const void*> unacknowledged;  // what events that are being told are of
  absl::AnyInvocable<void(const ibv_async_event&)> listener;
  // Of the device, and, from 1 on, of its ports.
  struct Traffic {
    uint64_t bytes_moved = 0;
    uint64_t bytes_max = UINT64_MAX;  // then it goes
    bool lost = false;
  };
  std::vector<Traffic> traffic;
};

struct FakeChannel {
  ibv_comp_channel channel = {};
  FakeSignal signal;
};

// Entries of a ring: a power of two, so that wrapping costs nothing.
template <class T>
size_t Wrap(const std::vector<T>& ring, uint64_t index) {
  return index & (ring.size() - 1);
}

struct FakeCompletionQueue {
  ibv_cq cq = {};
  FakeContext* context = nullptr;
  FakeChannel* channel = nullptr;
  std::vector<ibv_wc> ring;
  uint64_t head = 0;  // taken
  uint64_t tail = 0;  // made
  size_t depth = 0;
  bool armed = false;
};

struct FakeReceiveQueue {
  ibv_srq srq = {};
  FakeContext* context = nullptr;
  struct Buffer {
    uint64_t wr_id;
    ibv_sge entry;
  };
  std::vector<Buffer> ring;
  uint64_t head = 0;  // used
  uint64_t tail = 0;  // posted
  bool empty() const { return head == tail; }
  size_t depth = 0;
  bool full() const { return tail - head == depth; }
};

struct FakeQueuePair {
  ibv_qp qp = {};
  FakeContext* context = nullptr;
  FakeCompletionQueue* sends = nullptr;
  FakeCompletionQueue* receives = nullptr;
  FakeReceiveQueue* shared = nullptr;
  uint8_t port = 1;
  uint32_t depth = 0;
  uint32_t inline_max = 0;
  uint8_t reads_in = 0;
  uint8_t reads_out = 0;
  std::optional<uint64_t> kept_receive;               // work id of a buffer that it has not given back
  uint32_t peer = 0;                                  // number
  FakeQueuePair* to = nullptr;                        // of that number, once it was found; at no cost only
  std::deque<std::pair<uint64_t, bool>> outstanding;  // work ids not freed by a polled completion; true: held back
};

struct FakeRegion {
  ibv_mr mr = {};
  unsigned access = 0;
  bool dmabuf = false;

  bool Overlaps(const void* address, size_t length) const {
    const auto* const mine = static_cast<const std::byte*>(mr.addr);
    const auto* const other = static_cast<const std::byte*>(address);
    return other < mine + mr.length && mine < other + length;
  }
};

// Of type 1. Unbound: it has no region.
struct FakeWindow {
  ibv_mw mw = {};
  uint32_t key = 0;  // as the device has it, which the library runs ahead of
  FakeRegion* region = nullptr;
  ibv_mr range = {};
};

struct FakeEventChannel {
  rdma_event_channel channel = {};
  FakeSignal signal;
  std::deque<ConnectionEvent> events;
};

struct FakeId {
  enum class State { kIdle, kListening, kAsking, kAsked, kAccepted, kConnected, kEnded };
  rdma_cm_id id = {};
  FakeContext* context = nullptr;
  State state = State::kIdle;
  FakeId* peer = nullptr;
  uint32_t remote_qp = 0;
  uint8_t peer_reads_in = 0;  // as the peer's request or answer says
  uint8_t peer_reads_out = 0;
  uint16_t port = 0;
};

template <class T, class Base>
T* FakeOf(Base* base) {
  return reinterpret_cast<T*>(base);  // the base is the first member
}

// Into the channel of `to`.
void Push(FakeId& to, ConnectionEvent event);
ConnectionEvent EventOf(rdma_cm_event_type type, int status = 0, absl::Span<const std::byte> data = {});

// The context's operation table. Called with the fabric unlocked.
struct FakeOperations {
  static int PostSend(ibv_qp* qp, ibv_send_wr* work, ibv_send_wr** refused);
  static int PostReceive(ibv_srq* srq, ibv_recv_wr* work, ibv_recv_wr** refused);
  static int Poll(ibv_cq* cq, int count, ibv_wc* completions);
  static int Arm(ibv_cq* cq, int solicited_only);
  static int Bind(ibv_qp* qp, ibv_mw* mw, ibv_mw_bind* bind);

  // The same at no cost (fake_verbs_no_cost.cc): no lock, no checks.
  static int PostSendAtNoCost(ibv_qp* qp, ibv_send_wr* work, ibv_send_wr** refused);
  static int PostReceiveAtNoCost(ibv_srq* srq, ibv_recv_wr* work, ibv_recv_wr** refused);
  static int PollAtNoCost(ibv_cq* cq, int count, ibv_wc* completions);

  // With the fabric locked.
  static ibv_wc_status Execute(FakeFabric& fabric, FakeQueuePair& qp, const ibv_send_wr& work);
  static ibv_wc_status Move(FakeFabric& fabric, FakeQueuePair& qp, FakeQueuePair& to, const ibv_send_wr& work);
  static void CountMoved(FakeFabric& fabric, const FakeQueuePair& qp, uint64_t bytes);
  static void Lose(FakeFabric& fabric, FakeContext& context);
  // The address of a port, and what is in a socket's, as text.
  static std::string HostOf(const FakeContext& context, uint8_t port);
  static std::string HostOf(const sockaddr* address);
  // What a peer of that queue pair reaches under the key with that right; null: nothing.
  static const ibv_mr* Reach(FakeFabric& fabric, const FakeQueuePair& to, uint32_t key, unsigned right);
  static ibv_wc_status ExecuteBind(FakeFabric& fabric, const FakeQueuePair& qp, const ibv_send_wr& work);
  static ibv_wc_status Send(FakeFabric& fabric, FakeQueuePair& to, const ibv_send_wr& work);
  static bool Usable(FakeFabric& fabric, const FakeQueuePair& qp, const ibv_send_wr& work);
  // The next entry, all zeros. Null: it overflows.
  static ibv_wc* NewEntry(FakeFabric& fabric, FakeCompletionQueue& queue);
  static void Notify(FakeFabric& fabric, FakeCompletionQueue& queue);
  static void CompleteSend(FakeFabric& fabric, FakeQueuePair& qp, uint64_t work_id, ibv_wc_status status);
  static void Fail(FakeFabric& fabric, FakeQueuePair& qp);
  static void GiveBackReceive(FakeFabric& fabric, FakeQueuePair& qp);
  static void Forget(FakeFabric& fabric, FakeQueuePair& qp);
  static void Report(FakeContext& context, const ibv_async_event& event);
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_SUPPORT_FAKE_VERBS_OBJECTS_H_
