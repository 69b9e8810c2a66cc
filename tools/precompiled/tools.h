// What most sources of the tools include, for builds that precompile it; lib/precompiled/library.h says how that is
// meant.
#ifndef MCP_TOOLS_PRECOMPILED_TOOLS_H_
#define MCP_TOOLS_PRECOMPILED_TOOLS_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "mcp/engine.h"

#endif  // MCP_TOOLS_PRECOMPILED_TOOLS_H_
