// Is there a gain in posting by ibv_wr_* over lists of ibv_send_wr (docs/decisions/015-posting.md)?
//
// Below both stands the same stand-in for mlx5's library, modelled after what that does for a reliable connection: 64
// bytes of a work queue entry, its checks of room and operation, the ledger of work ids, one doorbell. It is reached as
// libibverbs' inline functions reach it, by pointers, and nothing of it is inlined. No device takes anything.
#include <benchmark/benchmark.h>
#include <endian.h>
#include <infiniband/verbs.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace mcp::internal {
namespace {

constexpr uint32_t kDepth = 128;
constexpr size_t kBatchMax = 64;
constexpr uint64_t kBytes = 4096;
constexpr uint8_t kAsksForCompletion = 8;

struct alignas(64) Entry {
  uint32_t operation, size;  // in the order of the network, as all of it
  uint32_t flags, immediate;
  uint64_t address;
  uint32_t key, reserved;
  struct {
    uint32_t length, lkey;
    uint64_t address;
  } payload[2];
};
static_assert(sizeof(Entry) == 64);

// An ibv_qp_ex is an ibv_qp first of all.
struct QueuePair {
  ibv_qp_ex qp = {};
  ibv_context context = {};
  pthread_spinlock_t lock;
  std::array<Entry, kDepth> entries;
  std::array<uint64_t, kDepth> work_ids;
  std::array<uint32_t, kDepth> heads;
  uint32_t posted = 0, requests = 0;
  int error = 0;
  Entry* current = nullptr;
  std::atomic<uint64_t> doorbell{0};

  QueuePair();
  ~QueuePair() { pthread_spin_destroy(&lock); }
  void Ring() {
    std::atomic_thread_fence(std::memory_order_release);
    doorbell.store(posted, std::memory_order_relaxed);
  }
  Entry& Begin(uint64_t work_id, ibv_wr_opcode operation, unsigned flags) {
    const uint32_t place = posted % kDepth;
    work_ids[place] = work_id;
    heads[place] = requests;
    Entry& entry = entries[place];
    entry.operation = htobe32((posted & 0xffff) << 8 | operation);
    entry.flags = (flags & IBV_SEND_SIGNALED) != 0 ? kAsksForCompletion : 0;
    if ((flags & IBV_SEND_FENCE) != 0) entry.flags |= 0x80;
    if ((flags & IBV_SEND_SOLICITED) != 0) entry.flags |= 2;
    return entry;
  }
  void Finish(Entry& entry, uint32_t payloads) {
    entry.size = htobe32((2 + payloads) | qp.qp_base.qp_num << 8);
    ++posted;
    ++requests;
  }
};

QueuePair& Of(void* qp) { return *static_cast<QueuePair*>(qp); }

void SetRemote(Entry& entry, uint64_t address, uint32_t key) {
  entry.address = htobe64(address);
  entry.key = htobe32(key);
  entry.reserved = 0;
}

void SetPayload(Entry& entry, uint32_t i, uint64_t address, uint32_t length, uint32_t lkey) {
  entry.payload[i] = {htobe32(length), htobe32(lkey), htobe64(address)};
}

[[gnu::noipa]] int PostList(ibv_qp* base, ibv_send_wr* work, ibv_send_wr** refused) {
  QueuePair& qp = Of(base);
  pthread_spin_lock(&qp.lock);
  qp.requests = 0;
  for (; work != nullptr; work = work->next) {
    if (work->opcode > IBV_WR_DRIVER1 || qp.requests >= kDepth || work->num_sge > 2) {
      *refused = work;
      pthread_spin_unlock(&qp.lock);
      return EINVAL;
    }
    Entry& entry = qp.Begin(work->wr_id, work->opcode, work->send_flags);
    entry.immediate = 0;
    switch (work->opcode) {
      case IBV_WR_RDMA_WRITE_WITH_IMM:
      case IBV_WR_SEND_WITH_IMM:
        entry.immediate = work->imm_data;
        if (work->opcode == IBV_WR_SEND_WITH_IMM) break;
        [[fallthrough]];
      case IBV_WR_RDMA_READ:
      case IBV_WR_RDMA_WRITE:
        SetRemote(entry, work->wr.rdma.remote_addr, work->wr.rdma.rkey);
        break;
      default:
        break;
    }
    uint32_t payloads = 0;
    if ((work->send_flags & IBV_SEND_INLINE) != 0) {
      std::memcpy(entry.payload, reinterpret_cast<const void*>(work->sg_list[0].addr), work->sg_list[0].length);
    } else {
      for (int i = 0; i < work->num_sge; ++i) {
        if (work->sg_list[i].length == 0) continue;
        SetPayload(entry, payloads++, work->sg_list[i].addr, work->sg_list[i].length, work->sg_list[i].lkey);
      }
    }
    qp.Finish(entry, payloads);
  }
  qp.Ring();
  pthread_spin_unlock(&qp.lock);
  return 0;
}

[[gnu::noipa]] void Start(ibv_qp_ex* base) {
  QueuePair& qp = Of(base);
  pthread_spin_lock(&qp.lock);
  qp.requests = 0;
  qp.error = 0;
}

[[gnu::noipa]] void BuildWrite(ibv_qp_ex* base, uint32_t key, uint64_t address) {
  QueuePair& qp = Of(base);
  if (qp.requests >= kDepth) {
    qp.error = ENOMEM;
    return;
  }
  qp.current = &qp.Begin(base->wr_id, IBV_WR_RDMA_WRITE, base->wr_flags);
  qp.current->immediate = 0;
  SetRemote(*qp.current, address, key);
}

[[gnu::noipa]] void SetOnePayload(ibv_qp_ex* base, uint32_t lkey, uint64_t address, uint32_t length) {
  QueuePair& qp = Of(base);
  if (qp.error != 0) return;
  if (length != 0) SetPayload(*qp.current, 0, address, length, lkey);
  qp.Finish(*qp.current, length != 0 ? 1 : 0);
}

[[gnu::noipa]] int Complete(ibv_qp_ex* base) {
  QueuePair& qp = Of(base);
  if (qp.error == 0) qp.Ring();
  pthread_spin_unlock(&qp.lock);
  return qp.error;
}

QueuePair::QueuePair() {
  pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
  context.ops.post_send = PostList;
  qp.qp_base.context = &context;
  qp.qp_base.qp_num = 7;
  qp.wr_start = Start;
  qp.wr_rdma_write = BuildWrite;
  qp.wr_set_sge = SetOnePayload;
  qp.wr_complete = Complete;
}

// What is known of a write before it is posted, in some memory: as a transport finds it.
struct alignas(64) Write {
  uint64_t payload, address;
  uint32_t key, lkey;
};

std::array<Write, kBatchMax> Writes() {
  std::array<Write, kBatchMax> writes;
  for (size_t i = 0; i < kBatchMax; ++i) writes[i] = {i * kBytes, (kBatchMax + i) * kBytes, 9, 5};
  return writes;
}

void PostByList(benchmark::State& state) {
  const auto qp = std::make_unique<QueuePair>();
  const auto count = static_cast<size_t>(state.range(0));
  std::array<Write, kBatchMax> writes = Writes();
  std::array<ibv_send_wr, kBatchMax> chain{};
  std::array<ibv_sge, kBatchMax> payloads{};
  uint64_t work_id = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(writes.data());
    for (size_t i = 0; i < count; ++i) {
      payloads[i] = {writes[i].payload, kBytes, writes[i].lkey};
      ibv_send_wr& work = chain[i];
      work.wr_id = ++work_id;
      work.sg_list = &payloads[i];
      work.num_sge = 1;
      work.opcode = IBV_WR_RDMA_WRITE;
      work.send_flags = i + 1 == count ? IBV_SEND_SIGNALED : 0;
      work.wr.rdma.remote_addr = writes[i].address;
      work.wr.rdma.rkey = writes[i].key;
      work.next = i + 1 == count ? nullptr : &chain[i + 1];
    }
    ibv_send_wr* refused = nullptr;
    if (ibv_post_send(&qp->qp.qp_base, chain.data(), &refused) != 0) return state.SkipWithError("refused");
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * count));
}
BENCHMARK(PostByList)->Arg(1)->Arg(4)->Arg(16)->Arg(64);

void PostByBuilder(benchmark::State& state) {
  const auto qp = std::make_unique<QueuePair>();
  const auto count = static_cast<size_t>(state.range(0));
  std::array<Write, kBatchMax> writes = Writes();
  uint64_t work_id = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(writes.data());
    ibv_wr_start(&qp->qp);
    for (size_t i = 0; i < count; ++i) {
      qp->qp.wr_id = ++work_id;
      qp->qp.wr_flags = i + 1 == count ? IBV_SEND_SIGNALED : 0;
      ibv_wr_rdma_write(&qp->qp, writes[i].key, writes[i].address);
      ibv_wr_set_sge(&qp->qp, writes[i].lkey, writes[i].payload, kBytes);
    }
    if (ibv_wr_complete(&qp->qp) != 0) return state.SkipWithError("refused");
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * count));
}
BENCHMARK(PostByBuilder)->Arg(1)->Arg(4)->Arg(16)->Arg(64);

}  // namespace
}  // namespace mcp::internal
