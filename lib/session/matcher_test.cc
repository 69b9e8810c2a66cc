#include "lib/session/matcher.h"

#include <deque>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace mcp::internal {
namespace {

constexpr uint64_t kExact = ~uint64_t{0};

PostedReceive* Post(Matcher& matcher, OperationId id, uint64_t tag, uint64_t mask = kExact) {
  PostedReceive* receive = matcher.NewReceive();
  receive->id = id;
  receive->tag = tag;
  receive->tag_mask = mask;
  matcher.Post(receive);
  return receive;
}

OperationId MatchedId(Matcher& matcher, uint64_t tag) {
  PostedReceive* receive = matcher.Match(tag);
  if (receive == nullptr) return 0;
  const OperationId id = receive->id;
  matcher.Release(receive);
  return id;
}

void Arrive(Matcher& matcher, uint64_t transfer, uint64_t tag) {
  UnexpectedMessage* message = matcher.NewUnexpected();
  message->tag = tag;
  message->request = true;
  message->transfer = transfer;
  matcher.Add(message);
}

uint64_t FoundTransfer(Matcher& matcher, uint64_t tag, uint64_t mask) {
  UnexpectedMessage* message = matcher.Find(tag, mask);
  if (message == nullptr) return 0;
  const uint64_t transfer = message->transfer;
  matcher.Release(message);
  return transfer;
}

TEST(Matcher, ReceivesOfOneTagMatchInTheOrderOfPosting) {
  Matcher matcher;
  Post(matcher, 1, 7);
  Post(matcher, 2, 7);
  EXPECT_EQ(MatchedId(matcher, 8), 0u);
  EXPECT_EQ(MatchedId(matcher, 7), 1u);
  EXPECT_EQ(MatchedId(matcher, 7), 2u);
  EXPECT_EQ(MatchedId(matcher, 7), 0u);
}

TEST(Matcher, TheEarlierOfAnExactAndAMaskedReceiveWins) {
  Matcher matcher;
  Post(matcher, 1, 0, 0);  // any
  Post(matcher, 2, 7);
  EXPECT_EQ(MatchedId(matcher, 7), 1u);
  Post(matcher, 3, 0, 0);
  EXPECT_EQ(MatchedId(matcher, 7), 2u);
  EXPECT_EQ(MatchedId(matcher, 9), 3u);
}

TEST(Matcher, RequestsCanBeWithdrawn) {
  Matcher matcher;
  Arrive(matcher, 11, 7);
  Arrive(matcher, 12, 7);
  UnexpectedMessage* withdrawn = matcher.FindRequest(11);
  ASSERT_NE(withdrawn, nullptr);
  matcher.Release(withdrawn);
  EXPECT_EQ(matcher.FindRequest(11), nullptr);
  EXPECT_EQ(FoundTransfer(matcher, 7, kExact), 12u);
}

// Against the plainest matcher there is: two lists, searched from the front.
TEST(Matcher, AgreesWithOneListSearchedFromTheFront) {
  struct Posted {
    OperationId id;
    uint64_t tag, mask;
  };
  struct Arrived {
    uint64_t transfer, tag;
  };
  const uint64_t masks[] = {kExact, kExact, kExact, 0xf0, 0};
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Matcher matcher;
    std::deque<Posted> posted;
    std::deque<Arrived> arrived;
    for (uint64_t step = 1; step <= 2000; ++step) {
      const uint64_t tag = random.Below(24) * 8;
      if (random.Below(2) == 0) {
        const uint64_t mask = masks[random.Below(5)];
        auto found = arrived.begin();
        while (found != arrived.end() && ((found->tag ^ tag) & mask) != 0) ++found;
        const uint64_t expected = found == arrived.end() ? 0 : found->transfer;
        ASSERT_EQ(FoundTransfer(matcher, tag, mask), expected);
        if (expected != 0) {
          arrived.erase(found);
          continue;
        }
        Post(matcher, step, tag, mask);
        posted.push_back({step, tag, mask});
      } else {
        auto found = posted.begin();
        while (found != posted.end() && ((found->tag ^ tag) & found->mask) != 0) ++found;
        const OperationId expected = found == posted.end() ? 0 : found->id;
        ASSERT_EQ(MatchedId(matcher, tag), expected);
        if (expected != 0) {
          posted.erase(found);
          continue;
        }
        Arrive(matcher, step, tag);
        arrived.push_back({step, tag});
      }
      ASSERT_EQ(matcher.posted(), posted.size());
    }
  }
}

}  // namespace
}  // namespace mcp::internal
