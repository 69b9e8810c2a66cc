#include <array>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "tools/mcp_perf/report.h"
#include "tools/mcp_perf/sizes.h"

namespace mcp::perf {
namespace {

template <typename... Values>
std::string Format(const char* format, Values... values) {
  std::array<char, 256> text;
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

std::string DescribeSide(const Side& side) {
  return absl::StrCat(side.host.host, " (", side.path.transport, " over ", side.path.device, ", ", side.host.cpu_model,
                      ", ", side.host.kernel, ")");
}

}  // namespace

std::string FormatTableHeader(const Report& report, const TableSettings& settings) {
  std::string text = absl::StrCat("mcp-perf ", report.version, ": checksums ", settings.checksum ? "on" : "off", ", ",
                                  settings.verify ? "every byte verified" : "nothing verified", ", ",
                                  settings.outstanding, " in flight in bandwidth tests\n");
  absl::StrAppend(&text, "  local   ", DescribeSide(report.local), "\n");
  absl::StrAppend(&text, "  remote  ", DescribeSide(report.remote), "\n");
  for (const Fallback& fallback : report.fallbacks) {
    absl::StrAppend(&text, "  ", fallback.used, " in place of ", fallback.wanted, ": ", fallback.reason, "\n");
  }
  absl::StrAppend(
      &text, Format("\n%-9s %9s %6s %11s %8s %8s %11s %9s %9s %9s %9s %10s\n", "test", "size", "rails", "operations",
                    "seconds", "GB/s", "ops/s", "p50 us", "p99 us", "p99.9 us", "CPU s/GB", "verified"));
  return text;
}

std::string FormatTableRow(const TestResult& result, const TableSettings& settings) {
  const double gigabytes = static_cast<double>(result.payload_bytes) / 1e9;
  const double cpu_s = static_cast<double>(result.local.cpu_ns + result.remote.cpu_ns) / 1e9;
  const std::string verified = result.payload_bytes > 0 && result.verified_bytes == result.payload_bytes ? "all"
                               : result.verified_bytes == 0                                              ? "no"
                                                                                                         : "in part";
  std::string text =
      Format("%-9s %9s %6d %11llu %8.3f %8.3f %11.0f %9.2f %9.2f %9.2f %9.3f %10s\n", result.test.name,
             FormatSize(result.size).c_str(), result.rails, static_cast<unsigned long long>(result.operations),
             result.seconds, BandwidthBytesPerS(result) / 1e9, OperationsPerS(result),
             result.latency.PercentileNs(0.5) / 1e3, result.latency.PercentileNs(0.99) / 1e3,
             result.latency.PercentileNs(0.999) / 1e3, gigabytes > 0 ? cpu_s / gigabytes : 0.0, verified.c_str());
  if (!result.test.latency && result.outstanding < settings.outstanding) {
    absl::StrAppend(&text, "          ", result.outstanding, " in flight, not ", settings.outstanding,
                    ": verification needs a slot for each, in a ring of at most ", FormatSize(kRingBytesMax), "\n");
  }
  if (!result.error.empty()) absl::StrAppend(&text, "          failed: ", result.error, "\n");
  return text;
}

}  // namespace mcp::perf
