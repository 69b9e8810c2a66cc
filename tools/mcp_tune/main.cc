// mcp-tune: makes profiles, and shows them.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "tools/mcp_tune/show.h"
#include "tools/mcp_tune/sweep.h"

namespace mcp::internal {
namespace {

int Fail(const std::string& what) {
  std::cerr << "mcp-tune: " << what << "\n";
  return 1;
}

int Write(const std::string& path, const std::string& text) {
  if (path == "-") {
    std::cout << text;
    return std::cout.flush() ? 0 : Fail("cannot write to stdout");
  }
  std::ofstream file(path);
  file << text;
  file.close();
  return file ? 0 : Fail("cannot write " + path);
}

int Show(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return Fail("cannot read " + path);
  const auto profile = ParseProfile(text.str());
  if (!profile.ok()) return Fail(path + ": " + std::string(profile.status().message()));
  std::cout << ShowTable(*profile) << "\n" << ShowMaps(*profile);
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app("Profiles of what protocols cost: priors for an engine that has measured nothing yet.", "mcp-tune");
  app.require_subcommand(1);
  SweepOptions options;
  std::string output = "-";
  CLI::App* sim = app.add_subcommand("sim", "sweep over simulated paths and write a profile");
  sim->add_option("--bandwidth", options.gigabits_per_s, "Gb/s")->delimiter(',')->check(CLI::Range(0.001, 10000.0));
  sim->add_option("--latency", options.latencies_us, "one way, us")->delimiter(',')->check(CLI::Range(0.1, 1e6));
  sim->add_option("--loss", options.losses, "share of packets")->delimiter(',')->check(CLI::Range(0.0, 0.2));
  sim->add_option("--transfers", options.transfers, "a protocol and point")->check(CLI::Range(50, 1000000));
  sim->add_option("--seed", options.seed, "");
  sim->add_option("-o,--output", output, "file; - for stdout");
  std::string shown;
  CLI::App* show = app.add_subcommand("show", "explain a profile: figures, and a map of which protocol wins where");
  show->add_option("profile", shown, "file")->required();
  CLI11_PARSE(app, argc, argv);
  if (show->parsed()) return Show(shown);
  const size_t points = options.gigabits_per_s.size() * options.latencies_us.size() * options.losses.size();
  if (points > Profile::kPointsMax) {
    return Fail(std::to_string(points) + " points, at most " + std::to_string(Profile::kPointsMax));
  }
  return Write(output, FormatProfile(Sweep(options)));
}

}  // namespace
}  // namespace mcp::internal

int main(int argc, char** argv) { return mcp::internal::Main(argc, argv); }
