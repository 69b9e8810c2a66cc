#include "lib/wire/checksum.h"

// Short input is hashed inline: the call through the shared library would cost as much as the hash.
#define XXH_INLINE_ALL
#include <xxhash.h>
#if defined(__x86_64__)
// Declares functions that libxxhash dispatches at run time (SSE2, AVX2, AVX-512); XXH_INLINE_ALL renamed the rest.
extern "C" XXH64_hash_t XXH3_64bits_dispatch(const void* input, size_t size);
#endif

namespace mcp::internal {
namespace {

// Above this size XXH3 leaves its short-input paths and vectors begin to matter.
constexpr size_t kShortBytesMax = 240;

}  // namespace

uint64_t Checksum(const std::byte* bytes, size_t size) {
#if defined(__x86_64__)
  if (size > kShortBytesMax) return XXH3_64bits_dispatch(bytes, size);
#endif
  return XXH3_64bits(bytes, size);
}

uint64_t SeededChecksum(const std::byte* bytes, size_t size, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, size, seed);
}

}  // namespace mcp::internal
