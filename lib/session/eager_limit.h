// Which messages go eagerly, whole and with their announcement, and which are announced, granted, and then written
// straight to where they belong?
//
// An announcement takes a round trip and two frames; a message that goes whole is copied once more at the receiver, and
// goes by one lane. What is short goes whole. What is longer, up to what a transport's messages take, goes whole where
// little else of its kind is under way, since then the round trip is what it would wait for. Where more is, the round
// trip costs nothing if the lanes keep up, and much if they do not. So it is tried (docs/decisions/019-eager-limit.md
// has the figures).
//
// A trial goes by stretches of traffic: some as before, some with messages of one size class going the other way,
// taking turns; what counts is the rate at which messages end while any are under way. Single messages cannot be
// compared: what one costs among others that go the other way is not what it costs among its like. The other way is
// kept where it is faster beyond chance, and tried again when what the trial cost is a small share of the time since.
//
// Where the receiver is late, nothing long goes whole: it would be held there, at the expense of all that needs credit,
// and would seem to have gone fast. What waits for its receive is not under way.
//
// Thread rule: the session's home lane, except End and admitted. Time is an argument: the same calls give the same
// choices.
#ifndef MCP_LIB_SESSION_EAGER_LIMIT_H_
#define MCP_LIB_SESSION_EAGER_LIMIT_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "mcp/context.h"

namespace mcp::internal {

class EagerLimit {
 public:
  // The receiver's, for one more message that goes whole.
  enum class Room : uint8_t {
    kEnough,
    kFull,  // of what is on its way
    kLate,  // of what no receive has taken
  };

  // Up to `always` whatever is under way, at most up to `most`. `forced`: what the user forces instead of trials.
  EagerLimit(uint64_t always, uint64_t most, std::optional<Protocol> forced);

  bool IsShort(uint64_t bytes) const { return bytes <= always_; }
  // Neither short nor too long to go whole: Begin decides, and End follows.
  bool Decides(uint64_t bytes) const { return bytes > always_ && bytes <= most_; }

  // A message for which that holds is sent. True: it goes whole. Otherwise Granted follows, before End.
  bool Begin(uint64_t bytes, Room room, int64_t now_ns);
  // An announced one waits for its receive no longer, or has ended without.
  void Granted(uint64_t bytes) { waiting_bytes_ -= bytes; }
  // It has ended, or failed. Any thread, where it was announced.
  void EndWhole(uint64_t bytes, int64_t now_ns) {
    whole_bytes_ -= bytes;
    End(bytes, now_ns);
  }
  void End(uint64_t bytes, int64_t now_ns) {
    ended_ns_.store(now_ns, std::memory_order_relaxed);
    ended_bytes_.fetch_add(bytes, std::memory_order_release);
  }

  // Of those that go whole and have not ended.
  uint64_t whole_bytes() const { return whole_bytes_; }
  // Any thread: messages that were not short and went whole.
  uint64_t admitted() const { return admitted_.load(std::memory_order_relaxed); }

 private:
  // Octaves of the size, the last for all that is longer.
  static constexpr uint32_t kClasses = 3;
  static constexpr uint32_t kPairs = 7;  // of stretches, in a trial

  // What a size class does where more is under way.
  struct Class {
    bool whole = false;
    uint64_t bytes = 0;  // for which that counted in this stretch
    uint32_t rest = 0;   // stretches before the next trial
  };
  struct Stretch {
    int64_t begin_ns = 0;
    uint64_t settled_at = 0;  // bytes ended: those that began before it
    uint64_t from = 0;        // bytes ended when it was settled
    int64_t busy_ns = 0;      // since then
    bool settled = false;
    bool late = false;  // the receiver was, at some time
  };
  struct Trial {
    uint32_t size_class = kClasses;  // kClasses: none
    bool other_way = false;          // this stretch goes the other way
    uint32_t pairs = 0;
    double before = 0;                   // rate of the pair's first stretch
    std::array<double, kPairs> gains{};  // of rate by going the other way, in ascending order
  };
  // The least of late: what has waited for its receive all the time.
  struct Stuck {
    int64_t until_ns = 0;
    uint64_t bytes = 0;
    uint64_t next_bytes = 0;
  };

  uint32_t ClassOf(uint64_t bytes) const;
  uint64_t StuckBytes(int64_t now_ns);
  void CountTime(uint64_t ended, bool idle, int64_t now_ns);
  void BeginStretch(uint64_t ended, int64_t now_ns);
  void OnStretch(double rate);
  void BeginTrial();
  void OnPair();
  void EndTrial(bool change);

  const uint64_t always_;
  const uint64_t most_;
  const bool forced_;

  std::array<Class, kClasses> classes_;
  Stretch stretch_;
  Trial trial_;
  Stuck stuck_;
  uint32_t next_class_ = 0;
  uint64_t begun_bytes_ = 0;
  uint64_t whole_bytes_ = 0;    // of those that go whole and have not ended
  uint64_t waiting_bytes_ = 0;  // announced and not granted
  int64_t counted_to_ns_ = 0;
  std::atomic<uint64_t> admitted_{0};

  alignas(64) std::atomic<uint64_t> ended_bytes_{0};  // other lanes', too
  std::atomic<int64_t> ended_ns_{0};                  // when the last one did
};

}  // namespace mcp::internal

#endif  // MCP_LIB_SESSION_EAGER_LIMIT_H_
