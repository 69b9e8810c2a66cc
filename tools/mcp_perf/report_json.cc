#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tools/mcp_perf/report.h"

namespace mcp::perf {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNsPerUs = 1000;

// Three decimals: nothing here is measured more finely than a nanosecond.
double Rounded(double value) { return std::round(value * 1000) / 1000; }

Json LatencyJson(const Histogram& latency) {
  const auto us = [](double ns) { return Rounded(ns / kNsPerUs); };
  return {{"min", us(latency.min_ns())},
          {"mean", us(latency.mean_ns())},
          {"p50", us(latency.PercentileNs(0.5))},
          {"p90", us(latency.PercentileNs(0.9))},
          {"p99", us(latency.PercentileNs(0.99))},
          {"p99_9", us(latency.PercentileNs(0.999))},
          {"max", us(latency.max_ns())}};
}

// In a Get, the server's session sends the payload.
uint64_t WireBytes(const TestResult& result) {
  return (result.test.operation == Operation::kGet ? result.remote : result.local).wire_bytes_sent;
}

// Which way this side's operations went; together they are all. Puts and gets are one-sided writes and reads: bulk. The
// counters may tell a message more than were timed.
Json ProtocolsJson(const TestResult& result) {
  const bool messages = result.test.operation == Operation::kSend;
  const uint64_t announced = messages ? std::min(result.local.announced, result.operations) : result.operations;
  const uint64_t streamed = std::min(result.local.streamed, announced);
  return {{"bulk", announced - streamed}, {"stream", streamed}, {"eager", result.operations - announced}};
}

Json SideJson(const Side& side) {
  return {{"host", side.host.host},     {"transport", side.path.transport},
          {"device", side.path.device}, {"rails", side.path.rails},
          {"memory", "host"},           {"cpu_model", side.host.cpu_model},
          {"kernel", side.host.kernel}};
}

Json ResultJson(const TestResult& result) {
  return {{"test", result.test.name},
          {"size_bytes", result.size},
          {"operations", result.operations},
          {"seconds", result.seconds},
          {"bandwidth_bytes_per_s", Rounded(BandwidthBytesPerS(result))},
          {"operations_per_s", Rounded(OperationsPerS(result))},
          {"latency_us", LatencyJson(result.latency)},
          {"payload_bytes", result.payload_bytes},
          {"wire_bytes", WireBytes(result)},
          {"compression_ratio", 1.0},
          {"codec", "none"},
          {"protocols", ProtocolsJson(result)},
          {"protocol_switches", result.local.protocol_switches},
          {"retransmitted_tiles", result.local.retransmitted_tiles + result.remote.retransmitted_tiles},
          {"checksum_failures", result.local.checksum_failures + result.remote.checksum_failures},
          {"cpu_s",
           {{"local", static_cast<double>(result.local.cpu_ns) / 1e9},
            {"remote", static_cast<double>(result.remote.cpu_ns) / 1e9}}},
          {"verified_bytes", result.verified_bytes},
          {"error", result.error.empty() ? Json(nullptr) : Json(result.error)}};
}

std::string CsvText(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c == '\n' ? ' ' : c;
  }
  return quoted + "\"";
}

}  // namespace

void AddFallbacks(const std::vector<Fallback>& more, Report& report) {
  for (const Fallback& fallback : more) {
    const auto same = [&](const Fallback& known) {
      return known.wanted == fallback.wanted && known.used == fallback.used && known.reason == fallback.reason;
    };
    if (std::none_of(report.fallbacks.begin(), report.fallbacks.end(), same)) report.fallbacks.push_back(fallback);
  }
}

double BandwidthBytesPerS(const TestResult& result) {
  return result.seconds > 0 ? static_cast<double>(result.payload_bytes) / result.seconds : 0;
}

double OperationsPerS(const TestResult& result) {
  return result.seconds > 0 ? static_cast<double>(result.operations) / result.seconds : 0;
}

std::string FormatJson(const Report& report) {
  Json fallbacks = Json::array();
  for (const Fallback& fallback : report.fallbacks) {
    fallbacks.push_back({{"wanted", fallback.wanted}, {"used", fallback.used}, {"reason", fallback.reason}});
  }
  Json results = Json::array();
  for (const TestResult& result : report.results) results.push_back(ResultJson(result));
  const Json document = {{"schema", "mcp-perf/1"},
                         {"version", report.version},
                         {"command", report.command},
                         {"local", SideJson(report.local)},
                         {"remote", SideJson(report.remote)},
                         {"fallbacks", fallbacks},
                         {"results", results}};
  // Names from the system and the command line need not be UTF-8; the document is.
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string FormatCsv(const Report& report) {
  std::string text =
      "test,size_bytes,operations,seconds,bandwidth_bytes_per_s,operations_per_s,latency_min_us,latency_mean_us,"
      "latency_p50_us,latency_p90_us,latency_p99_us,latency_p99_9_us,latency_max_us,payload_bytes,wire_bytes,"
      "compression_ratio,codec,protocol_bulk,protocol_stream,protocol_eager,protocol_switches,retransmitted_tiles,"
      "checksum_failures,cpu_local_s,cpu_remote_s,verified_bytes,error\n";
  for (const TestResult& result : report.results) {
    const Json row = ResultJson(result);
    std::string separator;
    // The columns are the leaves of the JSON object, in its order.
    const auto append = [&](const Json& leaf) {
      absl::StrAppend(&text, separator, leaf.is_null() ? "" : leaf.is_string() ? CsvText(leaf) : leaf.dump());
      separator = ",";
    };
    for (const auto& [name, value] : row.items()) {
      if (!value.is_object()) append(value);
      for (const Json& leaf : value.is_object() ? value : Json::array()) append(leaf);
    }
    text += '\n';
  }
  return text;
}

}  // namespace mcp::perf
