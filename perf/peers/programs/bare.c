// The floor and the ceiling: send() and recv() of the same sizes and nothing else. Each connection has a thread of its
// own on both sides. --coalesce packs messages into larger writes, as a library that batches would, and copies each
// out again on arrival.
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "perf/peers/programs/common.h"

enum { kConnectionsMax = 16, kReadBlock = 256 * 1024 };

struct connection {
  const struct options* o;
  int fd;
  long operations;
  char* buffer;   // one message, reused
  char* staging;  // for --coalesce
  uint32_t* samples_ns;
};

static int is_spinning;

static void send_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent <= 0) die("send", "connection lost");
    data += sent, size -= (size_t)sent;
  }
}

static void receive_all(int fd, char* data, size_t size) {
  const int flags = is_spinning ? MSG_DONTWAIT : MSG_WAITALL;
  while (size > 0) {
    const ssize_t got = recv(fd, data, size, flags);
    if (got == 0 || (got < 0 && !is_spinning)) die("recv", "connection lost");
    if (got > 0) data += got, size -= (size_t)got;
  }
}

static void send_packed(struct connection* c) {
  size_t filled = 0;
  for (long i = 0; i < c->operations; i++) {
    memcpy(c->staging + filled, c->buffer, c->o->size);
    filled += c->o->size;
    if (filled + c->o->size > c->o->coalesce || i + 1 == c->operations) {
      send_all(c->fd, c->staging, filled);
      filled = 0;
    }
  }
}

// A message may begin in one block and end in the next.
static void receive_packed(struct connection* c) {
  size_t remaining = (size_t)c->operations * c->o->size, at = 0;
  while (remaining > 0) {
    const ssize_t got = recv(c->fd, c->staging, remaining < kReadBlock ? remaining : kReadBlock, 0);
    if (got <= 0) die("recv", "connection lost");
    remaining -= (size_t)got;
    for (size_t used = 0; used < (size_t)got;) {
      size_t part = c->o->size - at;
      if (part > (size_t)got - used) part = (size_t)got - used;
      memcpy(c->buffer + at, c->staging + used, part);
      used += part, at = (at + part) % c->o->size;
    }
  }
}

static void* stream(void* argument) {
  struct connection* c = (struct connection*)argument;
  if (c->o->coalesce) {
    c->o->server ? receive_packed(c) : send_packed(c);
  } else {
    for (long i = 0; i < c->operations; i++) {
      c->o->server ? receive_all(c->fd, c->buffer, c->o->size) : send_all(c->fd, c->buffer, c->o->size);
    }
  }
  char done = 0;
  c->o->server ? send_all(c->fd, &done, 1) : receive_all(c->fd, &done, 1);
  return NULL;
}

static void* ping_pong(void* argument) {
  struct connection* c = (struct connection*)argument;
  for (long i = 0; i < c->operations; i++) {
    const int64_t start = now_ns();
    if (!c->o->server) send_all(c->fd, c->buffer, c->o->size);
    receive_all(c->fd, c->buffer, c->o->size);
    if (c->o->server) send_all(c->fd, c->buffer, c->o->size);
    if (c->samples_ns) c->samples_ns[i] = (uint32_t)((now_ns() - start) / 2);
  }
  return NULL;
}

static void run_phase(struct connection* connections, const struct options* o, long operations) {
  pthread_t threads[kConnectionsMax];
  for (int i = 0; i < o->connections; i++) {
    connections[i].operations = operations / o->connections + (i < operations % o->connections);
    pthread_create(&threads[i], NULL, is_latency(o) ? ping_pong : stream, &connections[i]);
  }
  for (int i = 0; i < o->connections; i++) pthread_join(threads[i], NULL);
}

static struct addrinfo* resolve(const struct options* o) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
  if (getaddrinfo(o->host, o->port, &hints, &address)) die("address", o->host);
  return address;
}

static void open_connections(struct connection* connections, const struct options* o) {
  struct addrinfo* address = resolve(o);
  const int one = 1;
  int listener = -1;
  if (o->server) {
    listener = socket(address->ai_family, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, address->ai_addr, address->ai_addrlen) || listen(listener, 16)) die("listen", o->port);
  }
  for (int i = 0; i < o->connections; i++) {
    int fd = o->server ? accept(listener, NULL, NULL) : socket(address->ai_family, SOCK_STREAM, 0);
    if (fd < 0) die("socket", o->host);
    if (!o->server && connect(fd, address->ai_addr, address->ai_addrlen)) die("connect", o->host);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connections[i] = (struct connection){.o = o, .fd = fd, .buffer = make_buffer(o->size)};
    if (o->coalesce) connections[i].staging = make_buffer(o->coalesce > kReadBlock ? o->coalesce : kReadBlock);
  }
}

int main(int argc, char** argv) {
  const struct options o = parse_options(argc, argv);
  if (o.connections < 1 || o.connections > kConnectionsMax) die("--connections", "1 to 16");
  if (o.coalesce && o.coalesce < o.size) die("--coalesce", "at least --size");
  is_spinning = is_latency(&o) && !strcmp(o.wait, "spin");
  struct connection connections[kConnectionsMax];
  open_connections(connections, &o);
  run_phase(connections, &o, o.warmup);
  struct result r = {.samples_ns = make_samples(&o), .sample_count = o.iterations};
  connections[0].samples_ns = r.samples_ns;
  const double cpu_before = cpu_seconds();
  const int64_t start = now_ns();
  run_phase(connections, &o, o.iterations);
  r.seconds = 1e-9 * (double)(now_ns() - start);
  r.cpu_s = cpu_seconds() - cpu_before;
  print_result(&o, &r);
  return 0;
}
