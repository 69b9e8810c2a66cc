#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tools/mcp_info/collect.h"
#include "tools/mcp_info/system_files.h"

namespace mcp::info {
namespace {

std::optional<uint64_t> Limit(rlim_t limit) {
  if (limit == RLIM_INFINITY) return std::nullopt;
  return static_cast<uint64_t>(limit);
}

bool MayLockAnyway() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

// "hugepages-2048kB"
std::vector<HugePages> CollectHugePages(const std::string& folder) {
  std::vector<HugePages> sizes;
  for (const std::string& name : ListFolder(folder)) {
    absl::string_view digits = name;
    uint64_t kib = 0;
    if (!absl::ConsumePrefix(&digits, "hugepages-") || !absl::ConsumeSuffix(&digits, "kB") ||
        !absl::SimpleAtoi(digits, &kib)) {
      continue;
    }
    const std::string path = absl::StrCat(folder, "/", name);
    sizes.push_back({kib * 1024, static_cast<uint64_t>(ReadNumber(path + "/nr_hugepages", 0)),
                     static_cast<uint64_t>(ReadNumber(path + "/free_hugepages", 0))});
  }
  return sizes;
}

// "always [madvise] never"
std::string Chosen(const std::string& text) {
  const size_t open = text.find('[');
  const size_t close = text.find(']', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || close == std::string::npos) return text;
  return text.substr(open + 1, close - open - 1);
}

}  // namespace

MemoryLimits CollectMemoryLimits(const std::string& root) {
  MemoryLimits limits;
  rlimit memlock;
  if (getrlimit(RLIMIT_MEMLOCK, &memlock) == 0) {
    limits.memlock_soft = Limit(memlock.rlim_cur);
    limits.memlock_hard = Limit(memlock.rlim_max);
  }
  limits.memlock_exempt = MayLockAnyway();
  limits.huge_pages = CollectHugePages(root + "/sys/kernel/mm/hugepages");
  limits.transparent_huge_pages = Chosen(ReadText(root + "/sys/kernel/mm/transparent_hugepage/enabled"));
  return limits;
}

}  // namespace mcp::info
