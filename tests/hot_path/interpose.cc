#include "tests/hot_path/interpose.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
#define MCP_SANITIZED 1
#endif

#ifdef MCP_SANITIZED

namespace mcp::hot_path {

std::string WhyNoCounting() { return "a sanitizer has replaced malloc and the locks, so they cannot be counted"; }
void StartCounting() {}
Counts StopCounting() { return {}; }
void PrintOffenders() {}

}  // namespace mcp::hot_path

#else

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include "absl/synchronization/mutex.h"

namespace mcp::hot_path {
namespace {

constexpr uint32_t kOffendersMax = 4;
constexpr int kFramesMax = 24;

struct Offender {
  void* frames[kFramesMax];
  int count = 0;
};

std::atomic<bool> counting{false};
std::atomic<uint64_t> allocations{0};
std::atomic<uint64_t> locks{0};
std::atomic<uint32_t> offenders_taken{0};
Offender offenders[kOffendersMax];
thread_local bool inside = false;  // taking a stack allocates and locks by itself

void Count(std::atomic<uint64_t>* what) {
  if (!counting.load(std::memory_order_acquire) || inside) return;
  what->fetch_add(1, std::memory_order_relaxed);
  const uint32_t index = offenders_taken.fetch_add(1, std::memory_order_relaxed);
  if (index >= kOffendersMax) return;
  inside = true;
  offenders[index].count = backtrace(offenders[index].frames, kFramesMax);
  inside = false;
}

}  // namespace

void CountAllocation() { Count(&allocations); }
void CountLock() { Count(&locks); }

std::string WhyNoCounting() { return ""; }

void StartCounting() {
  void* frame[1];
  backtrace(frame, 1);  // loads what it needs, the first time
  allocations.store(0, std::memory_order_relaxed);
  locks.store(0, std::memory_order_relaxed);
  counting.store(true, std::memory_order_release);
}

Counts StopCounting() {
  counting.store(false, std::memory_order_release);
  return {allocations.load(std::memory_order_relaxed), locks.load(std::memory_order_relaxed)};
}

void PrintOffenders() {
  const uint32_t count = std::min(offenders_taken.exchange(0), kOffendersMax);
  for (uint32_t i = 0; i < count; ++i) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, "offender:\n", 10);
    backtrace_symbols_fd(offenders[i].frames, offenders[i].count, STDERR_FILENO);
  }
}

namespace {

// What the C library would have called. Looked up before main, when only one thread runs.
template <class Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace
}  // namespace mcp::hot_path

extern "C" {

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* block);

void* malloc(size_t size) {
  mcp::hot_path::CountAllocation();
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  mcp::hot_path::CountAllocation();
  return __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) {
  mcp::hot_path::CountAllocation();
  return __libc_realloc(old, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  mcp::hot_path::CountAllocation();
  return __libc_memalign(alignment, size);
}

void* memalign(size_t alignment, size_t size) {
  mcp::hot_path::CountAllocation();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** block, size_t alignment, size_t size) {
  mcp::hot_path::CountAllocation();
  *block = __libc_memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}

void free(void* block) {
  if (block != nullptr) mcp::hot_path::CountAllocation();
  __libc_free(block);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static const auto next = mcp::hot_path::Next<int (*)(pthread_mutex_t*)>("pthread_mutex_lock");
  mcp::hot_path::CountLock();
  return next(mutex);
}

int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
  static const auto next = mcp::hot_path::Next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
  mcp::hot_path::CountLock();
  return next(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
  static const auto next = mcp::hot_path::Next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
  mcp::hot_path::CountLock();
  return next(lock);
}

}  // extern "C"

// Abseil's library calls its own of these through the dynamic linker, which prefers ours.
void absl::Mutex::Lock() {
  mcp::hot_path::CountLock();
  while (!TryLock()) sched_yield();
}

void absl::Mutex::ReaderLock() {
  mcp::hot_path::CountLock();
  while (!ReaderTryLock()) sched_yield();
}

#endif  // MCP_SANITIZED
