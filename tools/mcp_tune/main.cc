// mcp-tune: makes profiles, and shows them.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "tools/mcp_tune/live.h"
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

int Show(const std::string& path, const std::string& svg) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return Fail("cannot read " + path);
  const auto profile = ParseProfile(text.str());
  if (!profile.ok()) return Fail(path + ": " + std::string(profile.status().message()));
  if (!svg.empty()) return Write(svg, ShowSvg(*profile));
  std::cout << ShowTable(*profile) << "\n" << ShowMaps(*profile);
  return 0;
}

// Until it is interrupted. Signals are blocked before there are lanes, which would take them otherwise.
int Serve(const LiveOptions& options) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  const auto server = LiveServer::Start(options);
  if (!server.ok()) return Fail(std::string(server.status().message()));
  std::cout << (*server)->address() << std::endl;
  int signal = 0;
  sigwait(&ends, &signal);
  return 0;
}

int Live(const LiveOptions& options, const std::string& output) {
  const auto profile = MeasureLive(options);
  if (!profile.ok()) return Fail(std::string(profile.status().message()));
  return Write(output, FormatProfile(*profile));
}

// What `serve` and `live` have in common.
void AddLiveOptions(CLI::App* command, LiveOptions* options) {
  command->add_option("address", options->address, "HOST:PORT")->required();
  command->add_option("--transport", options->transports, "in the order of preference: verbs, tcp")->delimiter(',');
  command->add_option("--lanes", options->lanes, "")->check(CLI::Range(1, 64));
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
  LiveOptions live_options;
  CLI::App* serve = app.add_subcommand("serve", "be the peer that live sends to; prints where it listens");
  AddLiveOptions(serve, &live_options);
  CLI::App* live = app.add_subcommand("live", "time messages to a peer that serves, and write a profile of that path");
  AddLiveOptions(live, &live_options);
  live->add_option("--rails", live_options.rails, "of a session; 0: as an engine chooses")->check(CLI::Range(0, 8));
  live->add_option("--messages", live_options.messages, "a protocol and size")->check(CLI::Range(4, 10000));
  live->add_option("--octaves", live_options.octaves, "of sizes, from 512 KiB")->check(CLI::Range(1u, kLiveOctavesMax));
  live->add_option("-o,--output", output, "file; - for stdout");
  std::string shown;
  CLI::App* show = app.add_subcommand("show", "explain a profile: figures, and a map of which protocol wins where");
  show->add_option("profile", shown, "file")->required();
  std::string svg;
  show->add_option("--svg", svg, "draw the map into this file instead; - for stdout");
  CLI11_PARSE(app, argc, argv);
  if (show->parsed()) return Show(shown, svg);
  if (serve->parsed()) return Serve(live_options);
  if (live->parsed()) return Live(live_options, output);
  const size_t points = options.gigabits_per_s.size() * options.latencies_us.size() * options.losses.size();
  if (points > Profile::kPointsMax) {
    return Fail(std::to_string(points) + " points, at most " + std::to_string(Profile::kPointsMax));
  }
  return Write(output, FormatProfile(Sweep(options)));
}

}  // namespace
}  // namespace mcp::internal

int main(int argc, char** argv) { return mcp::internal::Main(argc, argv); }
