// Open MPI, as the OSU benchmarks drive it: windows of MPI_Isend answered by one word each, or windows of MPI_Put or
// MPI_Get closed by a flush. Rank 0 is the client. The target of one-sided work waits in MPI_Recv, which makes
// progress.
#include <mpi.h>

#include "perf/peers/programs/common.h"

enum { kWindowMax = 4096, kPayloadTag = 1, kWordTag = 2 };

struct side {
  const struct options* o;
  int rank;
  char *outgoing, *incoming;
  MPI_Win window;
  MPI_Request requests[kWindowMax];
};

static void send_window(struct side* s, int count) {
  char word;
  const int size = (int)s->o->size;
  for (int i = 0; i < count; i++) {
    MPI_Isend(s->outgoing, size, MPI_CHAR, 1, kPayloadTag, MPI_COMM_WORLD, &s->requests[i]);
  }
  MPI_Waitall(count, s->requests, MPI_STATUSES_IGNORE);
  MPI_Recv(&word, 1, MPI_CHAR, 1, kWordTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void receive_window(struct side* s, int count) {
  char word = 0;
  const int size = (int)s->o->size;
  for (int i = 0; i < count; i++) {
    MPI_Irecv(s->incoming, size, MPI_CHAR, 0, kPayloadTag, MPI_COMM_WORLD, &s->requests[i]);
  }
  MPI_Waitall(count, s->requests, MPI_STATUSES_IGNORE);
  MPI_Send(&word, 1, MPI_CHAR, 0, kWordTag, MPI_COMM_WORLD);
}

static void access_window(struct side* s, int count) {
  const int size = (int)s->o->size;
  for (int i = 0; i < count; i++) {
    if (s->o->test[0] == 'p') {
      MPI_Put(s->outgoing, size, MPI_CHAR, 1, 0, size, MPI_CHAR, s->window);
    } else {
      MPI_Get(s->outgoing, size, MPI_CHAR, 1, 0, size, MPI_CHAR, s->window);
    }
  }
  MPI_Win_flush(1, s->window);
}

static void stream(struct side* s, long operations) {
  char word = 0;
  const int is_send = s->o->test[0] == 's';
  for (long done = 0; done < operations; done += s->o->window) {
    const int count = (int)(operations - done < s->o->window ? operations - done : s->o->window);
    if (is_send) {
      s->rank == 0 ? send_window(s, count) : receive_window(s, count);
    } else if (s->rank == 0) {
      access_window(s, count);
    }
  }
  if (is_send) return;
  if (s->rank == 0) MPI_Send(&word, 1, MPI_CHAR, 1, kWordTag, MPI_COMM_WORLD);
  if (s->rank == 1) MPI_Recv(&word, 1, MPI_CHAR, 0, kWordTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void ping_pong(struct side* s, long operations, uint32_t* samples_ns) {
  const int size = (int)s->o->size, other = 1 - s->rank;
  for (long i = 0; i < operations; i++) {
    const int64_t start = now_ns();
    if (s->rank == 0) MPI_Send(s->outgoing, size, MPI_CHAR, other, kPayloadTag, MPI_COMM_WORLD);
    MPI_Recv(s->incoming, size, MPI_CHAR, other, kPayloadTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (s->rank == 1) MPI_Send(s->outgoing, size, MPI_CHAR, other, kPayloadTag, MPI_COMM_WORLD);
    if (samples_ns) samples_ns[i] = (uint32_t)((now_ns() - start) / 2);
  }
}

static void run_phase(struct side* s, long operations, uint32_t* samples_ns) {
  is_latency(s->o) ? ping_pong(s, operations, samples_ns) : stream(s, operations);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  struct options o = parse_options(argc, argv);
  if (o.window < 1 || o.window > kWindowMax) die("--window", "1 to 4096");
  struct side s = {.o = &o};
  MPI_Comm_rank(MPI_COMM_WORLD, &s.rank);
  s.outgoing = make_buffer(o.size);
  MPI_Win_allocate((MPI_Aint)o.size, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &s.incoming, &s.window);
  memset(s.incoming, 1, o.size);
  MPI_Barrier(MPI_COMM_WORLD);
  if (s.rank == 0) MPI_Win_lock(MPI_LOCK_SHARED, 1, 0, s.window);
  run_phase(&s, o.warmup, NULL);
  struct result r = {.samples_ns = s.rank == 0 ? make_samples(&o) : NULL, .sample_count = o.iterations};
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  run_phase(&s, o.iterations, r.samples_ns);
  r.seconds = 1e-9 * (double)(now_ns() - start);
  r.cpu_s = cpu_seconds() - cpu_before;
  double cpu_s[2];
  MPI_Gather(&r.cpu_s, 1, MPI_DOUBLE, cpu_s, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  if (s.rank == 0) r.cpu_s = cpu_s[0] + cpu_s[1], print_result(&o, &r);
  if (s.rank == 0) MPI_Win_unlock(1, s.window);
  MPI_Win_free(&s.window);
  MPI_Finalize();
  return 0;
}
