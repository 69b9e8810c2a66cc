// libfabric's tcp provider over connected endpoints (FI_EP_MSG): messages, RMA writes and RMA reads, a window of each
// in flight. The provider makes progress inside fi_cq_read, so both sides poll it, as fabtests does.
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "perf/peers/programs/common.h"

enum { kCompletionsMax = 64, kQueueMax = 1024, kWordBytes = 64, kReceivesBefore = 1 };

struct target {
  uint64_t address, key;
};

struct side {
  const struct options* o;
  struct fi_info* info;
  struct fid_fabric* fabric;
  struct fid_domain* domain;
  struct fid_eq* events;
  struct fid_cq *sent, *received;
  struct fid_ep* endpoint;
  struct fid_mr* region;
  char *incoming, *outgoing, *word;  // `size` bytes each and two control words, in one registered region
  struct target remote;              // the other side's `incoming`
  long sends_done, receives_done;
  long turn;  // of the ping-pong; its mark is in the last byte
};

static void check(long code, const char* what) {
  if (code < 0) die(what, fi_strerror((int)-code));
}

static struct fi_info* find_provider(const struct options* o) {
  struct fi_info *hints = fi_allocinfo(), *info;
  hints->ep_attr->type = FI_EP_MSG;
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->fabric_attr->prov_name = strdup("tcp");
  check(fi_getinfo(FI_VERSION(1, 15), o->host, o->port, o->server ? FI_SOURCE : 0, hints, &info), "fi_getinfo");
  return info;
}

static struct fi_info* wait_event(struct side* s, uint32_t wanted) {
  struct fi_eq_cm_entry entry;
  uint32_t event;
  const ssize_t got = fi_eq_sread(s->events, &event, &entry, sizeof(entry), 10000, 0);
  check(got, "connection event");
  if (event != wanted) die("connection", "unexpected event");
  return entry.info;
}

static void open_endpoint(struct side* s, struct fi_info* info) {
  struct fi_cq_attr attr = {.format = FI_CQ_FORMAT_CONTEXT, .size = kQueueMax};
  check(fi_domain(s->fabric, info, &s->domain, NULL), "fi_domain");
  check(fi_cq_open(s->domain, &attr, &s->sent, NULL), "fi_cq_open");
  check(fi_cq_open(s->domain, &attr, &s->received, NULL), "fi_cq_open");
  check(fi_endpoint(s->domain, info, &s->endpoint, NULL), "fi_endpoint");
  check(fi_ep_bind(s->endpoint, &s->events->fid, 0), "bind eq");
  check(fi_ep_bind(s->endpoint, &s->sent->fid, FI_TRANSMIT), "bind cq");
  check(fi_ep_bind(s->endpoint, &s->received->fid, FI_RECV), "bind cq");
  check(fi_enable(s->endpoint), "fi_enable");
  const uint64_t access = FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
  const size_t size = s->o->size;
  const size_t region_size = 2 * size + 2 * kWordBytes;
  s->incoming = make_buffer(region_size);
  s->outgoing = s->incoming + size;
  s->word = s->outgoing + size;
  check(fi_mr_reg(s->domain, s->incoming, region_size, access, 0, 1, 0, &s->region, NULL), "fi_mr_reg");
}

static void connect_sides(struct side* s) {
  struct fi_eq_attr attr = {.wait_obj = FI_WAIT_UNSPEC};
  s->info = find_provider(s->o);
  check(fi_fabric(s->info->fabric_attr, &s->fabric, NULL), "fi_fabric");
  check(fi_eq_open(s->fabric, &attr, &s->events, NULL), "fi_eq_open");
  if (s->o->server) {
    struct fid_pep* listener;
    check(fi_passive_ep(s->fabric, s->info, &listener, NULL), "fi_passive_ep");
    check(fi_pep_bind(listener, &s->events->fid, 0), "bind eq");
    check(fi_listen(listener), "fi_listen");
    open_endpoint(s, wait_event(s, FI_CONNREQ));
    check(fi_accept(s->endpoint, NULL, 0), "fi_accept");
  } else {
    open_endpoint(s, s->info);
    check(fi_connect(s->endpoint, s->info->dest_addr, NULL, 0), "fi_connect");
  }
  wait_event(s, FI_CONNECTED);
}

static void poll_queue(struct fid_cq* queue, long* done) {
  struct fi_cq_entry entries[kCompletionsMax];
  const ssize_t got = fi_cq_read(queue, entries, kCompletionsMax);
  if (got > 0) *done += got;
  struct fi_cq_err_entry error = {0};
  if (got == -FI_EAVAIL && fi_cq_readerr(queue, &error, 0) > 0) die("completion", fi_strerror(error.err));
  if (got < 0 && got != -FI_EAGAIN) check(got, "fi_cq_read");
}

static void progress(struct side* s) {
  poll_queue(s->sent, &s->sends_done);
  poll_queue(s->received, &s->receives_done);
}

static void wait_for(struct side* s, const long* done, long count) {
  while (*done < count) progress(s);
}

static void post_receive(struct side* s, char* data, size_t size) {
  ssize_t code;
  while ((code = fi_recv(s->endpoint, data, size, fi_mr_desc(s->region), 0, NULL)) == -FI_EAGAIN) progress(s);
  check(code, "fi_recv");
}

static ssize_t try_post(struct side* s) {
  const size_t size = s->o->size;
  void* desc = fi_mr_desc(s->region);
  switch (s->o->test[0]) {
    case 'p':
      return fi_write(s->endpoint, s->outgoing, size, desc, 0, s->remote.address, s->remote.key, NULL);
    case 'g':
      return fi_read(s->endpoint, s->outgoing, size, desc, 0, s->remote.address, s->remote.key, NULL);
    default:
      return fi_send(s->endpoint, s->outgoing, size, desc, 0, NULL);
  }
}

static void post(struct side* s) {
  ssize_t code;
  while ((code = try_post(s)) == -FI_EAGAIN) progress(s);
  check(code, "post");
}

static void send_word(struct side* s) {
  const long sent = s->sends_done;
  check(fi_send(s->endpoint, s->word, kWordBytes, fi_mr_desc(s->region), 0, NULL), "fi_send");
  wait_for(s, &s->sends_done, sent + 1);
}

static void exchange_targets(struct side* s) {
  const int is_virtual = (s->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
  const struct target mine = {is_virtual ? (uint64_t)(uintptr_t)s->incoming : 0, fi_mr_key(s->region)};
  char* theirs = s->word + kWordBytes;  // not `incoming`: the other side may write there before it is read here
  post_receive(s, theirs, kWordBytes);
  memcpy(s->word, &mine, sizeof(mine));
  send_word(s);
  wait_for(s, &s->receives_done, kReceivesBefore);
  memcpy(&s->remote, theirs, sizeof(s->remote));
}

// Its word follows all that the client posted, so the server's answer says that all has arrived.
static void stream_client(struct side* s, long operations) {
  const long sent = s->sends_done, received = s->receives_done;
  post_receive(s, s->word, kWordBytes);
  for (long posted = 0; posted < operations; posted++) {
    while (posted - (s->sends_done - sent) >= s->o->window) progress(s);
    post(s);
  }
  wait_for(s, &s->sends_done, sent + operations);
  send_word(s);
  wait_for(s, &s->receives_done, received + 1);
}

static void stream_server(struct side* s, long operations) {
  const long received = s->receives_done;
  if (s->o->test[0] != 's') operations = 0;  // one-sided: only progress is made here
  for (long posted = 0; posted < operations; posted++) {
    while (posted - (s->receives_done - received) >= s->o->window) progress(s);
    post_receive(s, s->incoming, s->o->size);
  }
  post_receive(s, s->word, kWordBytes);
  wait_for(s, &s->receives_done, received + operations + 1);
  send_word(s);
}

static char mark(const struct side* s) { return (char)(s->turn % 100 + 2); }

// A write is noticed by its last byte, as ib_write_lat does. One receive is always posted ahead.
static void await_arrival(struct side* s) {
  volatile char* last = s->incoming + s->o->size - 1;
  if (s->o->test[0] == 'p') {
    while (*last != mark(s)) progress(s);
  } else {
    wait_for(s, &s->receives_done, kReceivesBefore + s->turn + 1);
    post_receive(s, s->incoming, s->o->size);
  }
}

static void answer(struct side* s) {
  const long sent = s->sends_done;
  s->outgoing[s->o->size - 1] = mark(s);
  post(s);
  wait_for(s, &s->sends_done, sent + 1);
}

static void ping_pong(struct side* s, long operations, uint32_t* samples_ns) {
  for (long i = 0; i < operations; i++, s->turn++) {
    const int64_t start = now_ns();
    if (!s->o->server) answer(s);
    await_arrival(s);
    if (s->o->server) answer(s);
    if (samples_ns) samples_ns[i] = (uint32_t)((now_ns() - start) / 2);
  }
}

static void run_phase(struct side* s, long operations, uint32_t* samples_ns) {
  if (is_latency(s->o)) {
    ping_pong(s, operations, samples_ns);
  } else {
    s->o->server ? stream_server(s, operations) : stream_client(s, operations);
  }
}

// Neither side leaves before the other has read everything. In send_lat a receive is posted already.
static void part(struct side* s) {
  const int is_send_latency = !strcmp(s->o->test, "send_lat");
  const long sent = s->sends_done, received = s->receives_done;
  if (s->o->server) {
    if (!is_send_latency) post_receive(s, s->word, kWordBytes);
    wait_for(s, &s->receives_done, received + 1);
  } else {
    is_send_latency ? post(s) : send_word(s);
    wait_for(s, &s->sends_done, sent + 1);
  }
}

int main(int argc, char** argv) {
  const struct options o = parse_options(argc, argv);
  struct side s = {.o = &o};
  connect_sides(&s);
  exchange_targets(&s);
  if (!strcmp(o.test, "send_lat")) post_receive(&s, s.incoming, o.size);
  run_phase(&s, o.warmup, NULL);
  struct result r = {.samples_ns = make_samples(&o), .sample_count = o.iterations};
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  run_phase(&s, o.iterations, r.samples_ns);
  r.seconds = 1e-9 * (double)(now_ns() - start);
  r.cpu_s = cpu_seconds() - cpu_before;
  part(&s);
  print_result(&o, &r);
  return 0;
}
