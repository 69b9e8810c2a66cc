// One end of the live measurement of protocols: `message_path serve TRANSPORT ADDRESS`, or `message_path send TRANSPORT
// ADDRESS POLICY`.
//
// The sender takes a line "COUNT BYTES" from stdin for each batch of messages that it sends, one after another, and
// answers with a line of JSON; to "decisions" with the latest that its engine took. The receiver wants every message in
// parts and answers each with a report. No clock is shared: a message's time ends when its report is there, and the
// report says how long before the message its first part was.
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mcp/engine.h"

namespace {

using mcp::Result;

constexpr uint64_t kBytesMax = uint64_t{64} << 20;
constexpr int kLanes = 2;
// Of the tag space: what the receiver answers with.
constexpr uint64_t kReportTag = uint64_t{1} << 63;

uint64_t NowNs() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "message_path: %s\n", status.ToString().c_str());
  return 1;
}

// What the receiver tells of a message.
struct Report {
  uint64_t after_first_part_ns = 0;  // until it was whole
};

// Receives one message after another, and answers each with a report, until the session ends. On the lane alone.
class Receiver : public std::enable_shared_from_this<Receiver> {
 public:
  Receiver(mcp::Engine& engine, mcp::Session session) : session_(std::move(session)) {
    target_ = engine.Allocate(kBytesMax).value();
    report_ = engine.Allocate(sizeof(Report)).value();
  }
  void Start() {
    mcp::ReceiveOptions options;
    options.tag_mask = kReportTag;
    options.on_chunk = [self = shared_from_this()](uint64_t, uint64_t) {
      if (self->first_part_ns_ == 0) self->first_part_ns_ = NowNs();
    };
    first_part_ns_ = 0;
    const auto done = [self = shared_from_this()](Result result) { self->OnMessage(result); };
    if (const auto begun = session_.Receive(0, target_.All(), done, std::move(options)); !begun.ok()) session_ = {};
  }

 private:
  void OnMessage(const Result& result) {
    if (!result.status.ok()) {
      session_ = mcp::Session();
      return;
    }
    const Report report{NowNs() - first_part_ns_};
    std::memcpy(report_.data(), &report, sizeof(report));
    const auto sent = [self = shared_from_this()](Result) { self->Start(); };
    if (const auto begun = session_.Send(kReportTag, report_.All(), sent); !begun.ok()) session_ = {};
  }

  mcp::Session session_;
  mcp::Region target_, report_;
  uint64_t first_part_ns_ = 0;
};

int Serve(const std::string& transport, const std::string& address) {
  auto engine = mcp::Engine::Create({.lanes = kLanes, .transports = {transport}});
  if (!engine.ok()) return Fail(engine.status());
  mcp::SessionOptions options;
  options.rails = kLanes;
  auto listener = (*engine)->Listen(address, options, [&](mcp::Session session) {
    std::make_shared<Receiver>(**engine, std::move(session))->Start();
  });
  if (!listener.ok()) return Fail(listener.status());
  std::printf("%s\n", listener->address().c_str());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}

struct Batch {
  uint64_t ns = 0;
  double first_part_shares = 0;  // the sum of each message's
  std::string protocols;         // a letter a message: b for bulk, s for stream; large where it was a probe
  std::vector<uint64_t> times_us;
};

absl::Status SendOne(mcp::Session& session, const mcp::Region& source, uint64_t bytes, const mcp::Region& landing,
                     Batch* batch) {
  std::promise<Result> reported, sent;
  const auto awaited =
      session.Receive(kReportTag, landing.All(), [&](Result result) { reported.set_value(std::move(result)); });
  if (!awaited.ok()) return awaited.status();
  const uint64_t began_ns = NowNs();
  const mcp::SessionStatistics before = session.Statistics();
  const auto begun = session.Send(0, source.Part(0, bytes), [&](Result result) { sent.set_value(std::move(result)); });
  if (!begun.ok()) return begun.status();
  const Result answer = reported.get_future().get();
  const uint64_t ns = NowNs() - began_ns;
  const Result result = sent.get_future().get();
  if (!result.status.ok()) return result.status;
  if (!answer.status.ok()) return answer.status;
  Report report;
  std::memcpy(&report, landing.data(), sizeof(report));
  batch->ns += ns;
  batch->times_us.push_back(ns / 1000);
  batch->first_part_shares += 1 - static_cast<double>(report.after_first_part_ns) / static_cast<double>(ns);
  const mcp::SessionStatistics after = session.Statistics();
  const char* const letters = after.protocol_probes == before.protocol_probes ? "bs" : "BS";
  batch->protocols += letters[after.stream_transfers - before.stream_transfers];
  return absl::OkStatus();
}

void Print(const Batch& batch, const mcp::SessionStatistics& before, const mcp::SessionStatistics& after) {
  std::printf("{\"seconds\": %.6f, \"first_part_share\": %.4f, \"bulk\": %" PRIu64 ", \"stream\": %" PRIu64
              ", \"switches\": %" PRIu64 ", \"probes\": %" PRIu64 ", \"protocols\": \"%s\", \"times_us\": [%s]}\n",
              static_cast<double>(batch.ns) * 1e-9,
              batch.first_part_shares / static_cast<double>(batch.protocols.size()),
              after.bulk_transfers - before.bulk_transfers, after.stream_transfers - before.stream_transfers,
              after.protocol_switches - before.protocol_switches, after.protocol_probes - before.protocol_probes,
              batch.protocols.c_str(), absl::StrJoin(batch.times_us, ", ").c_str());
  std::fflush(stdout);
}

absl::Status SendBatch(mcp::Session& session, const mcp::Region& source, const mcp::Region& landing, uint64_t count,
                       uint64_t bytes) {
  if (count == 0 || bytes > kBytesMax) return absl::InvalidArgumentError(absl::StrCat(count, " of ", bytes, " bytes"));
  const mcp::SessionStatistics before = session.Statistics();
  Batch batch;
  for (uint64_t i = 0; i < count; ++i) {
    if (absl::Status sent = SendOne(session, source, bytes, landing, &batch); !sent.ok()) return sent;
  }
  Print(batch, before, session.Statistics());
  return absl::OkStatus();
}

absl::Status PrintDecisions(mcp::Engine& engine) {
  const auto decisions = engine.Decisions();
  if (!decisions.ok()) return decisions.status();
  std::printf("{\"decisions\": [");
  for (size_t i = 0; i < decisions->size(); ++i) {
    std::printf("%s\"%s\"", i == 0 ? "" : ", ", absl::CEscape((*decisions)[i]).c_str());
  }
  std::printf("]}\n");
  std::fflush(stdout);
  return absl::OkStatus();
}

int Send(const std::string& transport, const std::string& address, const std::string& policy) {
  mcp::EngineOptions engine_options;
  engine_options.transports = {transport};
  engine_options.lanes = kLanes;
  engine_options.context.policy = policy;
  if (policy == "bulk" || policy == "stream") {
    engine_options.context.policy = "fixed";
    engine_options.context.fixed.protocol = policy == "bulk" ? mcp::Protocol::kBulk : mcp::Protocol::kStream;
  }
  auto engine = mcp::Engine::Create(engine_options);
  if (!engine.ok()) return Fail(engine.status());
  mcp::SessionOptions options;
  options.rails = kLanes;
  options.rails_on_first_use = false;
  options.peer_timeout = std::chrono::minutes(1);
  auto session = (*engine)->Connect(address, options);
  if (!session.ok()) return Fail(session.status());
  auto source = (*engine)->Allocate(kBytesMax);
  auto landing = (*engine)->Allocate(sizeof(Report));
  if (!source.ok() || !landing.ok()) return Fail(source.ok() ? landing.status() : source.status());
  std::printf("ready\n");
  std::fflush(stdout);
  char line[64];
  while (std::fgets(line, sizeof(line), stdin) != nullptr) {
    uint64_t count = 0, bytes = 0;
    absl::Status done;
    if (std::sscanf(line, "%" SCNu64 " %" SCNu64, &count, &bytes) == 2) {
      done = SendBatch(*session, *source, *landing, count, bytes);
    } else if (line == std::string("decisions\n")) {
      done = PrintDecisions(**engine);
    } else {
      done = absl::InvalidArgumentError(absl::StrCat("not understood: ", line));
    }
    if (!done.ok()) return Fail(done);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 3 && arguments[0] == "serve") return Serve(arguments[1], arguments[2]);
  if (arguments.size() == 4 && arguments[0] == "send") return Send(arguments[1], arguments[2], arguments[3]);
  std::fprintf(stderr,
               "usage: message_path serve TRANSPORT ADDRESS\n"
               "       message_path send TRANSPORT ADDRESS bulk|stream|model|rules\n");
  return 2;
}
