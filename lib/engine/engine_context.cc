// How an engine's sessions decide: its policy, its profile, and what the caller knows of the moment.
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/engine/engine_impl.h"

namespace mcp::internal {
namespace {

absl::StatusOr<Profile> ReadProfile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(Profile::kBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return absl::InvalidArgumentError(absl::StrCat("profile ", path, ": cannot be read"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  absl::StatusOr<Profile> profile = ParseProfile(text);
  if (profile.ok()) return profile;
  return absl::Status(profile.status().code(), absl::StrCat("profile ", path, ": ", profile.status().message()));
}

}  // namespace

absl::Status EngineImpl::ChoosePolicy() {
  policy_ = options_.policy;
  if (policy_ != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Policy>> policy = MakePolicy(options_.context);
  if (!policy.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("EngineOptions::context: ", policy.status().message()));
  }
  own_policy_ = *std::move(policy);
  policy_ = own_policy_.get();
  return absl::OkStatus();
}

absl::Status EngineImpl::LoadProfile() {
  if (options_.profile.empty()) return absl::OkStatus();
  absl::StatusOr<Profile> profile = ReadProfile(options_.profile);
  if (profile.ok()) {
    profile_ = *std::move(profile);
    return absl::OkStatus();
  }
  if (options_.profile_required) return profile.status();
  start_fallbacks_.push_back({options_.profile, "no profile", std::string(profile.status().message())});
  return absl::OkStatus();
}

void EngineImpl::SetTraining(const TrainingContext& training) {
  for (const auto& lane : lanes_) {
    lane->Run([&context = lane->context(), training] { context.SetTraining(training); });
  }
}

absl::StatusOr<std::vector<std::string>> EngineImpl::Decisions() {
  MCP_RETURN_IF_ERROR(MayWait("Decisions"));
  std::vector<std::string> all;
  for (const auto& lane : lanes_) {
    std::vector<std::string> decisions;
    RunAndWait(*lane, [&lane, &decisions] { decisions = lane->context().Decisions(); });
    all.insert(all.end(), decisions.begin(), decisions.end());
  }
  return all;
}

}  // namespace mcp::internal
