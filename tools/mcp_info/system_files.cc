#include "tools/mcp_info/system_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace mcp::info {

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return std::string(absl::StripAsciiWhitespace(text.str()));
}

int64_t ReadNumber(const std::string& path, int64_t otherwise) {
  int64_t number = 0;
  return absl::SimpleAtoi(ReadText(path), &number) ? number : otherwise;
}

std::vector<std::string> ListFolder(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  // "2" before "10".
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    int64_t first = 0;
    int64_t second = 0;
    if (absl::SimpleAtoi(a, &first) && absl::SimpleAtoi(b, &second)) return first < second;
    return a < b;
  });
  return names;
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

std::string LinkName(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  return error ? "" : target.filename().string();
}

std::string LabelledValue(const std::string& path, absl::string_view label) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, label)) continue;
    rest = absl::StripLeadingAsciiWhitespace(rest);
    if (absl::ConsumePrefix(&rest, ":")) return std::string(absl::StripAsciiWhitespace(rest));
  }
  return "";
}

}  // namespace mcp::info
