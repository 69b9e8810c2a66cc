// Completions by queue, by event descriptor, and by co_await, over an engine of its own.
#include <poll.h>

#include <coroutine>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mcp/completion_queue.h"
#include "mcp/coroutine.h"
#include "mcp/engine.h"

namespace mcp {
namespace {

bool Readable(int fd, int timeout_ms) {
  pollfd waiting{fd, POLLIN, 0};
  return poll(&waiting, 1, timeout_ms) == 1;
}

TEST(CompletionQueue, GivesResultsWithTheirCookies) {
  auto queue = CompletionQueue::Create(4);
  ASSERT_TRUE(queue.ok());
  EXPECT_FALSE(Readable((*queue)->event_fd(), 0));
  for (uint64_t cookie = 1; cookie <= 3; ++cookie) {
    Result result;
    result.bytes = 10 * cookie;
    (*queue)->For(cookie)(std::move(result));
  }
  EXPECT_TRUE(Readable((*queue)->event_fd(), 0));
  (*queue)->AcknowledgeEvents();
  std::vector<CompletedOperation> completed(4);
  ASSERT_EQ((*queue)->Poll(absl::MakeSpan(completed)), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(completed[i].cookie, i + 1);
    EXPECT_EQ(completed[i].result.bytes, 10 * (i + 1));
  }
  EXPECT_FALSE(Readable((*queue)->event_fd(), 0));
}

TEST(CompletionQueue, EveryCompletionHasItsPlace) {
  auto queue = CompletionQueue::Create(2);
  ASSERT_TRUE(queue.ok());
  Completion first = (*queue)->For(1);
  Completion second = (*queue)->For(2);
  EXPECT_FALSE((*queue)->For(3)) << "no place is left";
  second = nullptr;  // an operation that was not accepted drops its completion
  Completion third = (*queue)->For(3);
  EXPECT_TRUE(third);
  std::move(first)(Result{});
  std::move(third)(Result{});
  std::vector<CompletedOperation> completed(2);
  EXPECT_EQ((*queue)->Poll(absl::MakeSpan(completed)), 2u);
  EXPECT_TRUE((*queue)->For(4));
}

TEST(CompletionQueue, NoResultIsMissedByOneWhoWaitsForTheDescriptor) {
  constexpr int kThreads = 3;
  constexpr uint64_t kEach = 20000;
  auto queue = CompletionQueue::Create(64);
  ASSERT_TRUE(queue.ok());
  std::vector<std::thread> producers;
  for (int i = 0; i < kThreads; ++i) {
    producers.emplace_back([&] {
      for (uint64_t done = 0; done < kEach;) {
        Completion completion = (*queue)->For(1);
        if (!completion) {
          std::this_thread::yield();
          continue;
        }
        std::move(completion)(Result{});
        ++done;
      }
    });
  }
  std::vector<CompletedOperation> completed(16);
  uint64_t polled = 0;
  while (polled < kThreads * kEach) {
    ASSERT_TRUE(Readable((*queue)->event_fd(), 10000)) << polled;
    (*queue)->AcknowledgeEvents();
    while (const size_t count = (*queue)->Poll(absl::MakeSpan(completed))) polled += count;
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(polled, kThreads * kEach);
}

// A coroutine that nobody waits for: its end is told by a promise.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

struct Pair {
  std::unique_ptr<Engine> engine;
  Listener listener;
  Session client;
  Session server;
};

std::unique_ptr<Pair> Connected() {
  auto pair = std::make_unique<Pair>();
  EngineOptions options;
  options.transports = {"loopback"};
  pair->engine = *Engine::Create(options);
  std::promise<Session> accepted;
  pair->listener =
      *pair->engine->Listen("loopback:here", {}, [&](Session session) { accepted.set_value(std::move(session)); });
  pair->client = *pair->engine->Connect("loopback:here");
  pair->server = accepted.get_future().get();
  return pair;
}

Detached EchoTwice(Session& session, Slice memory, std::promise<std::vector<Result>>& finished) {
  std::vector<Result> results;
  for (int i = 0; i < 2; ++i) {
    results.push_back(co_await Await([&](Completion done) { return session.Receive(1, memory, std::move(done)); }));
    results.push_back(co_await Await([&](Completion done) {
      return session.Send(2, {memory.region, memory.offset, results.back().bytes}, std::move(done));
    }));
  }
  finished.set_value(std::move(results));
}

TEST(Coroutine, AwaitsOperationsInTurn) {
  auto pair = Connected();
  Region server_memory = *pair->engine->Allocate(1 << 20);
  Region client_memory = *pair->engine->Allocate(2 << 20);
  std::promise<std::vector<Result>> finished;
  EchoTwice(pair->server, server_memory.All(), finished);
  auto queue = CompletionQueue::Create(8);
  ASSERT_TRUE(queue.ok());
  for (const uint64_t size : {uint64_t{100}, uint64_t{1} << 20}) {
    std::memset(client_memory.data(), static_cast<int>(size % 251), size);
    ASSERT_TRUE(pair->client.Receive(2, client_memory.Part(1 << 20, 1 << 20), (*queue)->For(1)).ok());
    ASSERT_TRUE(pair->client.Send(1, client_memory.Part(0, size), (*queue)->For(2)).ok());
    std::vector<CompletedOperation> completed(2);
    for (size_t got = 0; got < 2;) {
      ASSERT_TRUE(Readable((*queue)->event_fd(), 10000));
      (*queue)->AcknowledgeEvents();
      while (const size_t count = (*queue)->Poll(absl::MakeSpan(completed).subspan(got))) got += count;
    }
    for (const CompletedOperation& operation : completed) EXPECT_TRUE(operation.result.status.ok());
    EXPECT_EQ(std::memcmp(client_memory.data(), client_memory.data() + (1 << 20), size), 0);
  }
  const std::vector<Result> results = finished.get_future().get();
  ASSERT_EQ(results.size(), 4u);
  for (const Result& result : results) EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(results[0].tag, 1u);
}

Detached AwaitRefused(Session& session, std::promise<Result>& finished) {
  finished.set_value(co_await Await([&](Completion done) { return session.Send(1, Slice{}, std::move(done)); }));
}

TEST(Coroutine, AnOperationThatIsNotAcceptedDoesNotSuspend) {
  auto pair = Connected();
  std::promise<Result> finished;
  AwaitRefused(pair->client, finished);
  EXPECT_EQ(finished.get_future().get().status.code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mcp
