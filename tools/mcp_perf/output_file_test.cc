#include "tools/mcp_perf/output_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace mcp::perf {
namespace {

namespace fs = std::filesystem;

class OutputFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "output_file_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const char* name) const { return folder_ / name; }
  static std::string Contents(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  size_t Files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }

  fs::path folder_;
};

TEST_F(OutputFileTest, WritesTheWholeOrNothing) {
  const std::string path = Path("out.json");
  {
    auto file = OutputFile::Open("--json", path);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_FALSE(fs::exists(path));
    ASSERT_TRUE((*file)->Write("{}\n").ok());
  }
  EXPECT_EQ(Contents(path), "{}\n");
  { auto unwritten = OutputFile::Open("--json", path); }
  EXPECT_EQ(Contents(path), "{}\n");
  EXPECT_EQ(Files(), 1u);
}

TEST_F(OutputFileTest, ReplacesThroughASymbolicLinkAndKeepsTheMode) {
  std::ofstream(Path("real")) << "old";
  ASSERT_EQ(chmod(Path("real").c_str(), 0600), 0);
  fs::create_symlink("real", Path("link"));
  ASSERT_TRUE((*OutputFile::Open("--csv", Path("link")))->Write("new").ok());
  EXPECT_TRUE(fs::is_symlink(Path("link")));
  EXPECT_EQ(Contents(Path("real")), "new");
  EXPECT_EQ(fs::status(Path("real")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(OutputFileTest, AnUnwritableTargetIsFoundWhenOpened) {
  const auto missing = OutputFile::Open("--json", Path("no/such/folder.json"));
  EXPECT_TRUE(absl::StrContains(missing.status().message(), "no/such/folder.json")) << missing.status();
  EXPECT_TRUE(absl::StrContains(missing.status().message(), "No such file")) << missing.status();
  const auto folder = OutputFile::Open("--json", folder_);
  EXPECT_TRUE(absl::StrContains(folder.status().message(), "Is a directory")) << folder.status();
}

TEST_F(OutputFileTest, AFullDeviceIsAnError) {
  auto file = OutputFile::Open("--json", "/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status status = (*file)->Write("{}");
  EXPECT_TRUE(absl::StrContains(status.message(), "--json /dev/full: write")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "No space left")) << status;
}

}  // namespace
}  // namespace mcp::perf
