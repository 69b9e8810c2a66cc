// The table of `./dev bench context`: how well the context layer chooses, in simulation.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "perf/sim/contestant.h"
#include "perf/sim/goals.h"
#include "perf/sim/score.h"
#include "perf/sim/trace.h"

namespace mcp::internal {
namespace {

struct Options {
  uint32_t transfers = 100'000;
  uint64_t seed = 7;  // README.md says what was tuned on which
  std::string only;
  std::string json;
  std::string commit = "unknown";
};

struct Row {
  Trace trace;
  std::vector<std::string> names;
  std::vector<Score> scores;
  double best_fixed_ns = 0;
  std::string best_fixed;
};

std::string NameOf(const Alternative& alternative) {
  std::string name(ProtocolName(alternative.protocol));
  if (alternative.rails != 3) absl::StrAppend(&name, "/", alternative.rails == 1 ? 0 : 1);
  return name;
}

Row Measure(const std::string& name, const Options& options) {
  Row row;
  row.trace = MakeTrace(name, options.transfers, options.seed);
  const Oracle oracle(row.trace);
  const std::vector<Alternative>& offered = row.trace.alternatives;
  const auto run = [&](const std::string& contestant_name, Contestant* contestant) {
    row.names.push_back(contestant_name);
    row.scores.push_back(Play(row.trace, oracle, contestant));
  };
  Adaptive model("model", offered);
  run("model", &model);
  Adaptive rules("rules", offered);
  run("rules", &rules);
  Thresholds thresholds(offered);
  run("thresholds", &thresholds);
  LastSample last_sample(offered);
  run("last sample", &last_sample);
  for (uint32_t i = 0; i < offered.size(); ++i) {
    Fixed fixed(i, offered[i].bytes_max);
    run("fixed " + NameOf(offered[i]), &fixed);
    if (row.best_fixed_ns == 0 || row.scores.back().total_ns < row.best_fixed_ns) {
      row.best_fixed_ns = row.scores.back().total_ns;
      row.best_fixed = NameOf(offered[i]);
    }
  }
  return row;
}

void PrintHeader() {
  std::printf("%-20s %28s %22s %9s %10s %17s %17s %9s %8s %8s\n", "", "regret against the oracle, %", "", "model /",
              "model /", "reaction p50 p95", "reaction p50 p95", "switches", "probes", "until");
  std::printf("%-20s %6s %6s %6s %6s %12s %8s %9s %10s %17s %17s %9s %8s %8s\n", "trace", "model", "rules", "table",
              "last", "best fixed", "", "fixed", "rules", "to a slow-down", "to silent news", "needless", "/100,000",
              "right");
}

void PrintRow(const Row& row) {
  const Score& model = row.scores[0];
  const double oracle_ns = model.total_ns / (1 + model.regret);
  const double per = 100'000.0 / static_cast<double>(row.trace.steps.size());
  const auto reaction = [](const std::vector<uint32_t>& values) {
    return values.empty() ? std::string("-") : absl::StrCat(Percentile(values, 50), " ", Percentile(values, 95));
  };
  std::printf("%-20s %6.2f %6.2f %6.2f %6.2f %12s %8.2f %9.3f %10.3f %17s %17s %4.0f %4.0f %8.0f %8s\n",
              row.trace.name.c_str(), 100 * model.regret, 100 * row.scores[1].regret, 100 * row.scores[2].regret,
              100 * row.scores[3].regret, row.best_fixed.c_str(), 100 * (row.best_fixed_ns / oracle_ns - 1),
              model.total_ns / row.best_fixed_ns, model.total_ns / row.scores[1].total_ns,
              reaction(model.reactions_visible).c_str(), reaction(model.reactions_silent).c_str(),
              per * static_cast<double>(model.switches_settled), per * static_cast<double>(model.switches_needless),
              per * static_cast<double>(model.probes),
              model.until_right.empty() ? "-" : absl::StrCat(Percentile(model.until_right, 50)).c_str());
}

// Names hold nothing that JSON would escape.
void WriteJson(std::FILE* file, const Row& row, const Options& options) {
  for (size_t i = 0; i < row.scores.size(); ++i) {
    const Score& score = row.scores[i];
    std::fprintf(file,
                 "{\"schema\":\"mcp-context/1\",\"simulated\":true,\"commit\":\"%s\",\"seed\":%llu,\"trace\":\"%s\","
                 "\"transfers\":%zu,\"contestant\":\"%s\",\"total_ns\":%.0f,\"regret\":%.6f,\"failures\":%llu,"
                 "\"probes\":%llu,\"switches\":%llu,\"switches_settled\":%llu,\"switches_needless\":%llu,"
                 "\"until_right_p50\":%u,\"reaction_visible_p95\":%u,"
                 "\"reactions_visible\":%zu,\"reaction_silent_p95\":%u,\"reactions_silent\":%zu}\n",
                 options.commit.c_str(), static_cast<unsigned long long>(options.seed), row.trace.name.c_str(),
                 row.trace.steps.size(), row.names[i].c_str(), score.total_ns, score.regret,
                 static_cast<unsigned long long>(score.failures), static_cast<unsigned long long>(score.probes),
                 static_cast<unsigned long long>(score.switches),
                 static_cast<unsigned long long>(score.switches_settled),
                 static_cast<unsigned long long>(score.switches_needless), Percentile(score.until_right, 50),
                 Percentile(score.reactions_visible, 95), score.reactions_visible.size(),
                 Percentile(score.reactions_silent, 95), score.reactions_silent.size());
  }
}

// Whether one was missed.
bool PrintGoals(const std::deque<Row>& rows) {
  std::vector<Result> results;
  for (const Row& row : rows)
    results.push_back({&row.trace, &row.scores[0], row.scores[1].total_ns, row.best_fixed_ns});
  bool missed = false;
  std::printf("\n%-58s %9s %9s\n", "goal, worst trace", "at most", "measured");
  for (const GoalVerdict& verdict : Judge(results)) {
    missed |= verdict.missed();
    if (verdict.where.empty()) {
      std::printf("%-58s %9g %9s not judged\n", verdict.goal.c_str(), verdict.limit, "");
    } else {
      std::printf("%-58s %9g %9.2f %s (%s)\n", verdict.goal.c_str(), verdict.limit, verdict.measured,
                  verdict.missed() ? "MISSED" : "met", verdict.where.c_str());
    }
  }
  return missed;
}

int Usage(const char* wrong) {
  std::fprintf(
      stderr,
      "context_sim: %s\nusage: context_sim [--transfers N] [--seed N] [--trace NAME] [--json FILE] [--commit ID]"
      "\ntraces:",
      wrong);
  for (const std::string& name : TraceNames()) std::fprintf(stderr, " \"%s\"", name.c_str());
  std::fprintf(stderr, "\n");
  return 2;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) return Usage(argv[i]);
    const std::string value = argv[i + 1];
    bool ok = true;
    if (name == "--transfers") {
      ok = absl::SimpleAtoi(value, &options.transfers) && options.transfers > 0;
    } else if (name == "--seed") {
      ok = absl::SimpleAtoi(value, &options.seed);
    } else if (name == "--trace") {
      options.only = value;
    } else if (name == "--json") {
      options.json = value;
    } else if (name == "--commit") {
      options.commit = value;
    } else {
      return Usage(argv[i]);
    }
    if (!ok) return Usage(argv[i + 1]);
  }
  std::FILE* json = nullptr;
  if (!options.json.empty()) {
    json = std::fopen(options.json.c_str(), "w");
    if (json == nullptr) {
      std::perror(options.json.c_str());
      return 1;
    }
  }
  std::printf("Simulated: %u transfers a trace, seed %llu.\n", options.transfers,
              static_cast<unsigned long long>(options.seed));
  PrintHeader();
  std::deque<Row> rows;
  for (const std::string& name : TraceNames()) {
    if (!options.only.empty() && name != options.only) continue;
    Row& row = rows.emplace_back(Measure(name, options));
    PrintRow(row);
    std::fflush(stdout);
    if (json != nullptr) WriteJson(json, row, options);
    row.trace.outcomes = {};  // which take most of the memory
  }
  const bool missed = PrintGoals(rows);
  if (json != nullptr && std::fclose(json) != 0) {
    std::perror(options.json.c_str());
    return 1;
  }
  if (rows.empty()) return Usage(options.only.c_str());
  return missed ? 1 : 0;
}

}  // namespace
}  // namespace mcp::internal

int main(int argc, char** argv) { return mcp::internal::Main(argc, argv); }
