// Refusals, limits, cancellation and timeouts.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/contract/session_fixture.h"

namespace mcp::internal {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kSmall = 500;
constexpr uint64_t kLarge = 8 << 20;

class SessionLimit : public SessionContract {};

INSTANTIATE_TEST_SUITE_P(Every, SessionLimit, testing::ValuesIn(AllSessionCases()), SessionCaseName);

TEST_P(SessionLimit, RefusesWhatCannotBe) {
  Memory& source = NewMemory(client_engine(), 1000);
  Memory& target = NewMemory(server_engine(), 1000);
  const RemoteRegion both = Export(target);
  const RemoteRegion read_only = Export(target, RemoteAccess::kRead);
  const RemoteRegion write_only = Export(target, RemoteAccess::kWrite);
  const Operations::Index refused[] = {
      ops().Put(client(), source.Part(0, 1001), both, 0),
      ops().Put(client(), source.Part(1001, 0), both, 0),
      ops().Put(client(), source.Part(~uint64_t{0} - 5, 10), both, 0),
      ops().Put(client(), source.Part(0, 10), both, 991),
      ops().Put(client(), source.Part(0, 10), both, ~uint64_t{0} - 5),
      ops().Put(client(), source.Part(0, 10), read_only, 0),
      ops().Get(client(), source.Part(0, 10), write_only, 0),
      ops().Get(client(), source.Part(0, 10), both, 991),
      ops().Get(client(), source.Part(991, 10), both, 0),
      ops().Put(client(), Slice{}, both, 0),
      ops().Send(client(), 1, source.Part(991, 10)),
      ops().Receive(client(), 1, source.Part(991, 10)),
  };
  for (const Operations::Index index : refused) {
    EXPECT_EQ(ops().at(index).accepted.code(), absl::StatusCode::kInvalidArgument)
        << "number " << index << ": " << ops().at(index).what << ": " << ops().at(index).accepted;
  }
  // None of it took anything.
  ASSERT_TRUE(Finish(ops().Put(client(), source.Part(0, 1000), write_only, 0)));
  EXPECT_TRUE(client().status().ok()) << client().status();
}

TEST_P(SessionLimit, SerializedRegionsSayTheSame) {
  Memory& target = NewMemory(server_engine(), 1000);
  const std::string bytes = Export(target, RemoteAccess::kWrite).Serialize();
  EXPECT_LE(bytes.size(), RemoteRegion::kSerializedBytesMax);
  const auto parsed = RemoteRegion::Parse(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->length(), 1000u);
  EXPECT_EQ(parsed->access(), RemoteAccess::kWrite);
  Memory& source = NewMemory(client_engine(), 1000);
  source.Fill(0, 1000, 4);
  const auto put = ops().Put(client(), source.Part(0, 1000), *parsed, 0);
  ASSERT_TRUE(Finish(put));
  EXPECT_EQ(target.Mismatch(0, 1000, 4), "");
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(RemoteRegion::Parse(bytes.substr(0, length)).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(RemoteRegion::Parse("x" + bytes.substr(1)).ok());
  EXPECT_FALSE(RemoteRegion::Parse(bytes + "x").ok());
}

class SessionFewOutstanding : public SessionLimit {
 protected:
  SessionOptions Options() override {
    SessionOptions options = SessionLimit::Options();
    options.outstanding_max = 8;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Every, SessionFewOutstanding, testing::ValuesIn(AllSessionCases()), SessionCaseName);

TEST_P(SessionFewOutstanding, PushesBackAndRecovers) {
  Memory& target = NewMemory(client_engine(), kSmall);
  // Receives without messages stay outstanding for as long as one likes.
  std::vector<Operations::Index> receives;
  for (int i = 0; i < 50; ++i) {
    const auto receive = ops().Receive(client(), 1, target.Part(0, kSmall));
    if (!ops().accepted(receive)) {
      EXPECT_EQ(ops().at(receive).accepted.code(), absl::StatusCode::kResourceExhausted);
      break;
    }
    receives.push_back(receive);
  }
  EXPECT_GE(receives.size(), 1u);
  EXPECT_LE(receives.size(), 8u);
  ASSERT_TRUE(client().Cancel(ops().at(receives[0]).id).ok());
  ASSERT_TRUE(Finish(receives[0]));
  EXPECT_TRUE(ops().accepted(ops().Receive(client(), 1, target.Part(0, kSmall))));
}

TEST_P(SessionFewOutstanding, PatienceGetsEverythingThrough) {
  constexpr uint64_t kPuts = 400;
  Memory& source = NewMemory(client_engine(), kSmall);
  Memory& target = NewMemory(server_engine(), kSmall * kPuts);
  const RemoteRegion remote = Export(target);
  source.Fill(0, kSmall, 6);
  for (uint64_t i = 0; i < kPuts; ++i) {
    StartPatiently([&] { return ops().Put(client(), source.Part(0, kSmall), remote, i * kSmall); });
    EXPECT_LE(ops().open(), 16u);  // places come back just before completions run
  }
  ASSERT_TRUE(FinishAll());
  for (uint64_t i = 0; i < kPuts; ++i) EXPECT_EQ(target.Mismatch(i * kSmall, kSmall, 6), "");
}

TEST_P(SessionLimit, CancelsAReceive) {
  Memory& target = NewMemory(client_engine(), kSmall);
  const auto receive = ops().Receive(client(), 1, target.Part(0, kSmall));
  ASSERT_TRUE(client().Cancel(ops().at(receive).id).ok());
  ASSERT_TRUE(Finish(receive));
  EXPECT_EQ(ops().status(receive).code(), absl::StatusCode::kCancelled);
  // Its message goes to the next one.
  Memory& source = NewMemory(server_engine(), kSmall);
  source.Fill(0, kSmall, 2);
  const auto next = ops().Receive(client(), 1, target.Part(0, kSmall));
  ops().Send(server(), 1, source.Part(0, kSmall));
  ASSERT_TRUE(FinishAll());
  EXPECT_TRUE(ops().status(next).ok());
  EXPECT_EQ(target.Mismatch(0, kSmall, 2), "");
}

TEST_P(SessionLimit, CancelsASendThatNobodyReceives) {
  Memory& source = NewMemory(client_engine(), kLarge);
  Memory& target = NewMemory(server_engine(), kLarge);
  const auto sent = ops().Send(client(), 1, source.Part(0, kLarge));
  for (int i = 0; i < 20; ++i) world().ProgressAll();
  ASSERT_TRUE(client().Cancel(ops().at(sent).id).ok());
  ASSERT_TRUE(Finish(sent));
  EXPECT_EQ(ops().status(sent).code(), absl::StatusCode::kCancelled);
  // A receive that comes now gets the next message; or, if it met the announcement on its last leg, ends as cancelled.
  source.Fill(0, kSmall, 9);
  auto receive = ops().Receive(server(), 1, target.Part(0, kLarge));
  ops().Send(client(), 1, source.Part(0, kSmall));
  ASSERT_TRUE(Finish(receive));
  if (!ops().status(receive).ok()) {
    EXPECT_EQ(ops().status(receive).code(), absl::StatusCode::kCancelled) << ops().status(receive);
    receive = ops().Receive(server(), 1, target.Part(0, kLarge));
  }
  ASSERT_TRUE(FinishAll());
  EXPECT_TRUE(ops().status(receive).ok()) << ops().status(receive);
  EXPECT_EQ(ops().at(receive).result.bytes, kSmall);
  EXPECT_EQ(target.Mismatch(0, kSmall, 9), "");
}

// Whatever the moment: each ends once, as cancelled or as what it was; and its memory is the caller's again.
TEST_P(SessionLimit, CancelsInTheMiddle) {
  Memory& near = NewMemory(client_engine(), 4 * kLarge);
  Memory& far = NewMemory(server_engine(), 4 * kLarge);
  const RemoteRegion remote = Export(far);
  for (int rounds = 0; rounds < 10; ++rounds) {
    SCOPED_TRACE(rounds);
    near.Fill(0, kLarge, 1);
    far.Fill(0, kLarge, 2);
    const auto put = ops().Put(client(), near.Part(0, kLarge), remote, 2 * kLarge);
    const auto get = ops().Get(client(), near.Part(2 * kLarge, kLarge), remote, 0);
    const auto sent = ops().Send(client(), 3, near.Part(0, kLarge));
    const auto received = ops().Receive(server(), 3, far.Part(3 * kLarge, kLarge));
    for (int i = 0; i < rounds; ++i) world().ProgressAll();
    for (const auto index : {put, get, sent}) EXPECT_TRUE(client().Cancel(ops().at(index).id).ok());
    // A receive whose message never comes whole is the receiver's to end.
    ASSERT_TRUE(Finish(put) && Finish(get) && Finish(sent));
    if (rounds % 2 == 0) (void)server().Cancel(ops().at(received).id);
    std::fill_n(near.bytes.begin(), kLarge, std::byte{0});  // lent no longer
    if (!ops().status(sent).ok()) (void)server().Cancel(ops().at(received).id);
    ASSERT_TRUE(Finish(received));
    for (const auto index : {put, get, sent, received}) {
      const absl::Status status = ops().status(index);
      EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kCancelled) << ops().at(index).what << status;
    }
    if (ops().status(put).ok()) {
      EXPECT_EQ(far.Mismatch(2 * kLarge, kLarge, 1), "");
    }
    if (ops().status(get).ok()) {
      EXPECT_EQ(near.Mismatch(2 * kLarge, kLarge, 2), "");
    }
    if (ops().status(received).ok()) {
      EXPECT_EQ(far.Mismatch(3 * kLarge, kLarge, 1), "");
    }
    // A cancelled get's memory stays as it is from its completion on.
    std::fill_n(near.bytes.begin() + 2 * kLarge, kLarge, std::byte{7});
    std::fill_n(far.bytes.begin() + 3 * kLarge, kLarge, std::byte{7});
    for (int i = 0; i < 100; ++i) world().ProgressAll();
    ASSERT_TRUE(Finish(ops().Put(client(), near.Part(0, 1), remote, 0)));
    EXPECT_EQ(ValueMismatch(near.Bytes(2 * kLarge, kLarge), std::byte{7}), "");
    EXPECT_EQ(ValueMismatch(far.Bytes(3 * kLarge, kLarge), std::byte{7}), "");
    ASSERT_TRUE(client().status().ok()) << client().status();
  }
}

TEST_P(SessionLimit, CancelOfWhatIsNotThere) {
  Memory& source = NewMemory(client_engine(), kSmall);
  Memory& target = NewMemory(server_engine(), kSmall);
  const auto put = ops().Put(client(), source.Part(0, kSmall), Export(target), 0);
  ASSERT_TRUE(Finish(put));
  EXPECT_TRUE(client().Cancel(ops().at(put).id).ok()) << "left alone: it has completed";
  EXPECT_EQ(client().Cancel(0).code(), absl::StatusCode::kInvalidArgument);
  for (int i = 0; i < 20; ++i) world().ProgressAll();
  EXPECT_TRUE(ops().status(put).ok());
}

TEST_P(SessionLimit, TimeoutsEndWhatWaits) {
  Memory& near = NewMemory(client_engine(), kLarge);
  ReceiveOptions receive_options;
  receive_options.timeout = milliseconds(20);
  const auto received = ops().Receive(client(), 1, near.Part(0, kSmall), std::move(receive_options));
  const auto sent = ops().Send(client(), 2, near.Part(0, kLarge), {.timeout = milliseconds(20)});
  ASSERT_TRUE(Finish(received) && Finish(sent));
  EXPECT_EQ(ops().status(received).code(), absl::StatusCode::kDeadlineExceeded) << ops().status(received);
  EXPECT_EQ(ops().status(sent).code(), absl::StatusCode::kDeadlineExceeded) << ops().status(sent);
  EXPECT_TRUE(client().status().ok()) << client().status();
}

TEST_P(SessionLimit, AGenerousTimeoutChangesNothing) {
  Memory& source = NewMemory(client_engine(), kLarge);
  Memory& target = NewMemory(server_engine(), kLarge);
  source.Fill(0, kLarge, 2);
  const RemoteRegion remote = Export(target);
  const auto put = ops().Put(client(), source.Part(0, kLarge), remote, 0, {.timeout = milliseconds(60'000)});
  ASSERT_TRUE(Finish(put));
  EXPECT_TRUE(ops().status(put).ok()) << ops().status(put);
  EXPECT_EQ(target.Mismatch(0, kLarge, 2), "");
}

}  // namespace
}  // namespace mcp::internal
