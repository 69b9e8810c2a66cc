#include "tools/mcp_perf/host.h"

#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace mcp::perf {
namespace {

// The value of the first "NAME : VALUE" line of a file in /proc.
std::string ProcValue(const char* path, absl::string_view name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, name)) continue;
    rest = absl::StripLeadingAsciiWhitespace(rest);
    if (!absl::ConsumePrefix(&rest, ":")) continue;
    return std::string(absl::StripAsciiWhitespace(rest));
  }
  return "";
}

}  // namespace

int64_t ProcessCpuNs() {
  timespec spent;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  return int64_t{1'000'000'000} * spent.tv_sec + spent.tv_nsec;
}

int CpuCount() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

uint64_t MemoryAvailable() {
  const std::string text = ProcValue("/proc/meminfo", "MemAvailable");
  uint64_t kib = 0;
  return absl::SimpleAtoi(absl::StripSuffix(text, " kB"), &kib) ? kib * 1024 : 0;
}

HostInfo DescribeHost() {
  HostInfo info;
  utsname name;
  if (uname(&name) == 0) {
    info.host = name.nodename;
    info.kernel = absl::StrCat(name.sysname, " ", name.release, " ", name.machine);
  }
  info.cpu_model = ProcValue("/proc/cpuinfo", "model name");
  if (info.cpu_model.empty()) info.cpu_model = "unknown";
  info.cpus = CpuCount();
  return info;
}

}  // namespace mcp::perf
