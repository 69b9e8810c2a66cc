// One end of the live measurement of protocols: `message_path serve ADDRESS`, or `message_path send ADDRESS POLICY`.
//
// The sender takes a line "COUNT BYTES" from stdin for each batch of messages that it sends, one after another, and
// answers with a line of JSON. The receiver wants every message in parts. A message's tag is the sender's monotonic
// clock, which both processes of one host share: so the receiver knows how long its first part took.
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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
  uint64_t first_part_ns = 0;
  uint64_t whole_ns = 0;
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
    const Report report{first_part_ns_ - result.tag, NowNs() - result.tag};
    std::memcpy(report_.data(), &report, sizeof(report));
    const auto sent = [self = shared_from_this()](Result) { self->Start(); };
    if (const auto begun = session_.Send(kReportTag, report_.All(), sent); !begun.ok()) session_ = {};
  }

  mcp::Session session_;
  mcp::Region target_, report_;
  uint64_t first_part_ns_ = 0;
};

int Serve(const std::string& address) {
  auto engine = mcp::Engine::Create({.lanes = kLanes});
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
  std::vector<Report> reports;
};

absl::Status SendOne(mcp::Session& session, const mcp::Region& source, uint64_t bytes, const mcp::Region& landing,
                     Batch* batch) {
  std::promise<Result> reported, sent;
  const auto awaited =
      session.Receive(kReportTag, landing.All(), [&](Result result) { reported.set_value(std::move(result)); });
  if (!awaited.ok()) return awaited.status();
  const uint64_t began_ns = NowNs();
  const auto begun =
      session.Send(began_ns, source.Part(0, bytes), [&](Result result) { sent.set_value(std::move(result)); });
  if (!begun.ok()) return begun.status();
  const Result result = sent.get_future().get();
  const Result answer = reported.get_future().get();
  if (!result.status.ok()) return result.status;
  if (!answer.status.ok()) return answer.status;
  Report report;
  std::memcpy(&report, landing.data(), sizeof(report));
  batch->ns += report.whole_ns;
  batch->reports.push_back(report);
  return absl::OkStatus();
}

void Print(const Batch& batch, const mcp::SessionStatistics& before, const mcp::SessionStatistics& after) {
  double share = 0;
  for (const Report& report : batch.reports) {
    share += static_cast<double>(report.first_part_ns) / static_cast<double>(report.whole_ns);
  }
  std::printf("{\"seconds\": %.6f, \"first_part_share\": %.4f, \"bulk\": %" PRIu64 ", \"stream\": %" PRIu64
              ", \"switches\": %" PRIu64 ", \"probes\": %" PRIu64 "}\n",
              static_cast<double>(batch.ns) * 1e-9, share / static_cast<double>(batch.reports.size()),
              after.bulk_transfers - before.bulk_transfers, after.stream_transfers - before.stream_transfers,
              after.protocol_switches - before.protocol_switches, after.protocol_probes - before.protocol_probes);
  std::fflush(stdout);
}

int Send(const std::string& address, const std::string& policy) {
  mcp::EngineOptions engine_options;
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
  options.peer_timeout = std::chrono::minutes(1);
  auto session = (*engine)->Connect(address, options);
  if (!session.ok()) return Fail(session.status());
  auto source = (*engine)->Allocate(kBytesMax);
  auto landing = (*engine)->Allocate(sizeof(Report));
  if (!source.ok() || !landing.ok()) return Fail(source.ok() ? landing.status() : source.status());
  std::printf("ready\n");
  std::fflush(stdout);
  uint64_t count = 0, bytes = 0;
  while (std::scanf("%" SCNu64 " %" SCNu64, &count, &bytes) == 2) {
    if (bytes > kBytesMax) return Fail(absl::InvalidArgumentError(absl::StrCat(bytes, " bytes: too many")));
    const mcp::SessionStatistics before = session->Statistics();
    Batch batch;
    for (uint64_t i = 0; i < count; ++i) {
      if (const absl::Status sent = SendOne(*session, *source, bytes, *landing, &batch); !sent.ok()) return Fail(sent);
    }
    Print(batch, before, session->Statistics());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "serve") return Serve(arguments[1]);
  if (arguments.size() == 3 && arguments[0] == "send") return Send(arguments[1], arguments[2]);
  std::fprintf(stderr, "usage: message_path serve ADDRESS | message_path send ADDRESS bulk|stream|model|rules\n");
  return 2;
}
