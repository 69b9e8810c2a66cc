// A session that minds its own business: while others of its engine are mistreated it keeps putting, getting and
// sending patterns, and compares every byte that comes back.
#ifndef MCP_TESTS_PROCESS_WITNESS_H_
#define MCP_TESTS_PROCESS_WITNESS_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "mcp/engine.h"
#include "tests/support/engine_world.h"

namespace mcp::internal {

class Witness {
 public:
  // Connects `own`, an engine with lanes, to `observed` and starts. ok() says whether it could.
  Witness(EngineWorld* world, Engine* own, Engine* observed);
  ~Witness();
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

  bool ok() const { return problem().empty(); }
  // What went wrong, if anything did.
  std::string problem() const;
  // So many more rounds of put, get and send, each verified, within the bound; false also when something went wrong.
  bool Goes(uint64_t rounds = 3);

 private:
  static constexpr uint64_t kSmall = 700;
  static constexpr uint64_t kLarge = 300'000;

  absl::Status Prepare(Engine* own, Engine* observed);
  void StartRound();
  void Put(uint64_t offset, uint64_t length);
  void Get();
  void SendAndReceive();
  void Step();
  bool Failed(const absl::Status& status);
  void Note(const std::string& problem);

  EngineWorld* const world_;
  EngineWorld::Ends ends_;
  Region near_;      // what is put and sent
  Region returned_;  // what is got back
  Region far_;       // the observed engine's
  Region received_;  // the observed engine's, of messages
  RemoteRegion remote_;
  std::atomic<uint64_t> rounds_{0};
  std::atomic<int> waiting_{0};  // completions that the step waits for
  std::atomic<bool> stopping_{false};
  std::atomic<bool> idle_{true};
  int step_ = 0;
  mutable std::mutex mutex_;
  std::string problem_;
};

}  // namespace mcp::internal

#endif  // MCP_TESTS_PROCESS_WITNESS_H_
