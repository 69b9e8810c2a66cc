#include "tests/support/operations.h"

#include <deque>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

// Completions must not run inside the call that starts an operation.
thread_local int calls_on_stack = 0;

}  // namespace

struct Operations::State {
  struct Entry {
    Outcome outcome;
    int runs = 0;
    bool returned = false;  // the call that started it has returned
  };
  mutable std::mutex mutex;
  std::deque<Entry> entries;
  size_t open = 0;
  bool over = false;

  void Complete(Index index, const Result& result) {
    const std::lock_guard<std::mutex> lock(mutex);
    Entry& entry = entries[index];
    EXPECT_FALSE(over) << entry.outcome.what << " completed after its engines were gone";
    EXPECT_EQ(++entry.runs, 1) << entry.outcome.what << " completed " << entry.runs << " times";
    EXPECT_TRUE(IsAllowedCode(result.status.code())) << entry.outcome.what << ": " << result.status;
    EXPECT_TRUE(result.status.ok() || !result.status.message().empty()) << entry.outcome.what << ": no reason";
    entry.outcome.done = true;
    entry.outcome.result = result;
    if (entry.returned) --open;
  }
};

bool IsAllowedCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kInternal:
      return true;
    default:
      return false;
  }
}

Operations::Operations() : state_(std::make_shared<State>()) {}

Operations::~Operations() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->over = true;
  for (const State::Entry& entry : state_->entries) {
    if (entry.outcome.accepted.ok()) {
      EXPECT_EQ(entry.runs, 1) << entry.outcome.what << " was accepted and completed " << entry.runs << " times";
    } else {
      EXPECT_EQ(entry.runs, 0) << entry.outcome.what << " was refused (" << entry.outcome.accepted
                               << ") and completed all the same";
    }
  }
}

Operations::Index Operations::Start(std::string what, Call call, std::function<void(const Result&)> then) {
  Index index;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    index = state_->entries.size();
    state_->entries.emplace_back().outcome.what = std::move(what);
  }
  EngineWorld* world = world_;
  ++calls_on_stack;
  const absl::StatusOr<OperationId> id =
      call([state = state_, index, world, then = std::move(then)](Result result) mutable {
        EXPECT_EQ(calls_on_stack, 0) << "a completion ran on the caller's stack";
        if (then) then(result);
        state->Complete(index, result);
        if (world != nullptr) world->Notify();
      });
  --calls_on_stack;
  const std::lock_guard<std::mutex> lock(state_->mutex);
  State::Entry& entry = state_->entries[index];
  entry.outcome.accepted = id.status();
  if (!id.ok()) return index;
  entry.outcome.id = *id;
  entry.returned = true;
  if (entry.runs == 0) ++state_->open;
  return index;
}

Operations::Index Operations::Put(Session& session, Slice local, const RemoteRegion& remote, uint64_t offset,
                                  OperationOptions options) {
  return Start(absl::StrCat("put of ", local.length), [&](Completion completion) {
    return session.Put(local, remote, offset, std::move(completion), options);
  });
}

Operations::Index Operations::Get(Session& session, Slice local, const RemoteRegion& remote, uint64_t offset,
                                  OperationOptions options) {
  return Start(absl::StrCat("get of ", local.length), [&](Completion completion) {
    return session.Get(local, remote, offset, std::move(completion), options);
  });
}

Operations::Index Operations::Send(Session& session, uint64_t tag, Slice local, OperationOptions options) {
  return Start(absl::StrCat("send of ", local.length, " with tag ", tag),
               [&](Completion completion) { return session.Send(tag, local, std::move(completion), options); });
}

Operations::Index Operations::Receive(Session& session, uint64_t tag, Slice local, ReceiveOptions options) {
  return Start(absl::StrCat("receive into ", local.length, " with tag ", tag), [&](Completion completion) {
    return session.Receive(tag, local, std::move(completion), std::move(options));
  });
}

Operations::Index Operations::Close(Session& session) {
  return Start("close", [&](Completion completion) -> absl::StatusOr<OperationId> {
    session.Close(std::move(completion));
    return OperationId{0};
  });
}

Operations::Outcome Operations::at(Index index) const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->entries[index].outcome;
}

size_t Operations::open() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->open;
}

size_t Operations::started() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->entries.size();
}

}  // namespace mcp::internal
