// The counters as a table for people.
#include <cinttypes>
#include <map>

#include "simt/emulator.h"

namespace simt {

namespace {

double ratio(uint64_t a, uint64_t b) { return b ? double(a) / double(b) : 0.0; }

struct Total {
  LaunchCounters sum;
  unsigned launches = 0;
};

}  // namespace

void print_counters(std::FILE* out) {
  std::map<std::string, Total> totals;
  for (const LaunchCounters& l : launch_counters()) {
    Total& t = totals[l.kernel];
    ++t.launches;
    t.sum.blocks += l.blocks;
    t.sum.threads += l.threads;
    t.sum.bytes += l.bytes;
    t.sum.sectors += l.sectors;
    t.sum.first += l.first;
    t.sum.wavefronts += l.wavefronts;
    t.sum.ideal_wavefronts += l.ideal_wavefronts;
    t.sum.instructions += l.instructions;
    t.sum.most_instructions = std::max(t.sum.most_instructions, l.most_instructions);
  }
  const auto lines = line_counters();
  const auto work = work_counters();
  for (const auto& [kernel, t] : totals) {
    std::fprintf(out, "%s: %u launches, %" PRIu64 " blocks, %" PRIu64 " threads\n", kernel.c_str(),
                 t.launches, t.sum.blocks, t.sum.threads);
    std::fprintf(out,
                 "  global %" PRIu64 " bytes in %" PRIu64 " sectors (%" PRIu64
                 " different); shared %" PRIu64 " wavefronts (ideal %" PRIu64
                 "); instructions a lane: mean %.0f, most %" PRIu64 "\n",
                 t.sum.bytes, t.sum.sectors, t.sum.first, t.sum.wavefronts, t.sum.ideal_wavefronts,
                 ratio(t.sum.instructions, t.sum.threads), t.sum.most_instructions);
    std::fprintf(out, "  %-24s %-6s %-6s %5s %10s %6s %12s %10s %10s %6s %10s\n", "line", "space",
                 "access", "width", "requests", "lanes", "bytes", "moved", "ideal", "ratio",
                 "first");
    for (const LineCounters& r : lines)
      if (r.kernel == kernel)
        std::fprintf(out,
                     "  %-24s %-6s %-6s %5u %10" PRIu64 " %6.1f %12" PRIu64 " %10" PRIu64
                     " %10" PRIu64 " %6.2f %10" PRIu64 "\n",
                     (r.at.file + ":" + std::to_string(r.at.line)).c_str(),
                     r.shared ? "shared" : "global", r.access.c_str(), r.width, r.requests,
                     ratio(r.lanes, r.requests), r.bytes, r.moved, r.ideal, ratio(r.moved, r.ideal),
                     r.first);
    std::fprintf(out, "  %-24s %s\n", "line", "instructions a lane");
    for (const WorkCounters& r : work)
      if (r.kernel == kernel)
        std::fprintf(out, "  %-24s %.1f\n", (r.at.file + ":" + std::to_string(r.at.line)).c_str(),
                     ratio(r.instructions, t.sum.threads));
  }
}

}  // namespace simt
