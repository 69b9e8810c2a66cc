// What the peers' programs share: options, clocks, percentiles and the one line of JSON each side prints.
// Both sides get the same options and so the same number of operations; only the client names --host.
// The client's clock runs from the first timed operation to the server's word that all have arrived.
#ifndef MCP_PERF_PEERS_PROGRAMS_COMMON_H_
#define MCP_PERF_PEERS_PROGRAMS_COMMON_H_

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct options {
  const char* test;  // send_bw, put_bw, get_bw, send_lat, put_lat
  const char* host;  // the server's address; it listens there when `server`
  const char* port;
  const char* wait;   // spin or block
  const char* store;  // a directory that both sides see
  int server;
  size_t size;
  long iterations, warmup;
  int window;       // operations in flight
  int connections;  // or streams
  size_t coalesce;  // bytes packed into one write; 0: each message by itself
};

struct result {
  double seconds, cpu_s;
  uint32_t* samples_ns;  // half round trips, `sample_count` of them; NULL for bandwidth
  long sample_count;
};

static inline void die(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static inline struct options parse_options(int argc, char** argv) {
  static const struct option known[] = {
      {"test", 1, NULL, 't'},   {"host", 1, NULL, 'h'},   {"port", 1, NULL, 'p'},        {"wait", 1, NULL, 'y'},
      {"store", 1, NULL, 'd'},  {"server", 0, NULL, 'l'}, {"size", 1, NULL, 's'},        {"iterations", 1, NULL, 'n'},
      {"warmup", 1, NULL, 'w'}, {"window", 1, NULL, 'o'}, {"connections", 1, NULL, 'c'}, {"coalesce", 1, NULL, 'k'},
      {NULL, 0, NULL, 0}};
  struct options o;
  memset(&o, 0, sizeof(o));
  o.test = "send_bw", o.host = "127.0.0.1", o.port = "20000", o.wait = "block", o.store = "/tmp";
  o.size = 64, o.iterations = 1000, o.warmup = 100, o.window = 1, o.connections = 1;
  for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (letter) {
      case 't':
        o.test = optarg;
        break;
      case 'h':
        o.host = optarg;
        break;
      case 'p':
        o.port = optarg;
        break;
      case 'y':
        o.wait = optarg;
        break;
      case 'd':
        o.store = optarg;
        break;
      case 'l':
        o.server = 1;
        break;
      case 's':
        o.size = strtoull(optarg, NULL, 10);
        break;
      case 'n':
        o.iterations = strtol(optarg, NULL, 10);
        break;
      case 'w':
        o.warmup = strtol(optarg, NULL, 10);
        break;
      case 'o':
        o.window = atoi(optarg);
        break;
      case 'c':
        o.connections = atoi(optarg);
        break;
      case 'k':
        o.coalesce = strtoull(optarg, NULL, 10);
        break;
      default:
        exit(2);
    }
  }
  return o;
}

static inline int is_latency(const struct options* o) { return strstr(o->test, "_lat") != NULL; }

static inline int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + 1e-6 * (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// Page-aligned and touched, so that no page fault is timed.
static inline char* make_buffer(size_t size) {
  void* buffer = NULL;
  if (posix_memalign(&buffer, 4096, size)) die("buffer", "out of memory");
  memset(buffer, 1, size);
  return (char*)buffer;
}

static inline uint32_t* make_samples(const struct options* o) {
  return is_latency(o) ? (uint32_t*)make_buffer(sizeof(uint32_t) * (size_t)o->iterations) : NULL;
}

static inline int compare_samples(const void* a, const void* b) {
  const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
  return (x > y) - (x < y);
}

static inline void print_result(const struct options* o, struct result* r) {
  printf("{\"seconds\": %.9f, \"operations\": %ld, \"cpu_s\": %.6f", r->seconds, o->iterations, r->cpu_s);
  if (r->samples_ns && r->sample_count > 0) {
    qsort(r->samples_ns, (size_t)r->sample_count, sizeof(uint32_t), compare_samples);
    printf(", \"p50_us\": %.3f, \"p99_us\": %.3f", 1e-3 * r->samples_ns[r->sample_count / 2],
           1e-3 * r->samples_ns[r->sample_count * 99 / 100]);
  }
  printf("}\n");
  fflush(stdout);
}

#endif  // MCP_PERF_PEERS_PROGRAMS_COMMON_H_
