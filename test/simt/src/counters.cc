#include "counters.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <tuple>

#include "arena.h"
#include "report.h"
#include "simt/emulator.h"
#include "symbols.h"

namespace simt {

namespace {

constexpr size_t kBanks = 32, kBankBytes = 4;

struct Line {
  Access access{};
  bool shared = false;
  unsigned width = 0;
  uint64_t requests = 0, lanes = 0, bytes = 0, moved = 0, ideal = 0, first = 0;
};

struct LaunchTotal {
  const void* kernel = nullptr;
  LaunchCounters counters;
};

struct Counts {
  // A cp.async has a global and a shared half at the same place.
  std::map<std::tuple<const void*, const void*, bool>, Line> lines;  // kernel, site, shared
  std::map<std::pair<const void*, const void*>, uint64_t> work;      // kernel, site
  std::unordered_map<const void*, unsigned> weights;                 // of stretches of code
  std::vector<LaunchTotal> launches;
  uint32_t stamp = 0;
};

Counts& counts() {
  static Counts& instance = *new Counts;
  return instance;
}

// Distinct bytes of a request: a broadcast does not count twice.
uint64_t distinct_bytes(std::span<const Event* const> events) {
  std::array<std::pair<uintptr_t, uintptr_t>, kWarpSize> ranges;
  for (size_t i = 0; i < events.size(); ++i)
    ranges[i] = {events[i]->address, events[i]->address + events[i]->size};
  std::sort(ranges.begin(), ranges.begin() + ptrdiff_t(events.size()));
  uintptr_t end = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    const uintptr_t low = std::max(ranges[i].first, end);
    if (ranges[i].second <= low) continue;
    bytes += ranges[i].second - low;
    end = ranges[i].second;
  }
  return bytes;
}

void count_global(Line& line, LaunchCounters& launch, std::span<const Event* const> events) {
  std::array<uintptr_t, 256> sectors;
  size_t n = 0;
  for (const Event* e : events)
    for (uintptr_t s = e->address / kSector; s <= (e->address + e->size - 1) / kSector; ++s)
      if (n < sectors.size() && (n == 0 || sectors[n - 1] != s)) sectors[n++] = s;
  std::sort(sectors.begin(), sectors.begin() + ptrdiff_t(n));
  n = size_t(std::unique(sectors.begin(), sectors.begin() + ptrdiff_t(n)) - sectors.begin());
  uint64_t first = 0;
  for (size_t i = 0; i < n; ++i) {
    uint32_t& stamp = arena().sector_stamp(sectors[i] * kSector);
    first += stamp != counts().stamp;
    stamp = counts().stamp;
  }
  const uint64_t bytes = distinct_bytes(events);
  line.bytes += bytes;
  line.moved += n;
  line.first += first;
  line.ideal += (bytes + kSector - 1) / kSector;
  launch.bytes += bytes;
  launch.sectors += n;
  launch.first += first;
}

// A request takes as many wavefronts as the busiest bank has different words. Accesses of 8 bytes
// go by half warps, of 16 bytes by quarter warps.
void count_shared(Line& line, LaunchCounters& launch, std::span<const Event* const> events) {
  const size_t width = events[0]->size;
  const size_t together = width >= 16 ? 8 : width >= 8 ? 16 : 32;
  for (size_t at = 0; at < events.size(); at += together) {
    std::array<std::array<uintptr_t, kWarpSize>, kBanks> words;
    std::array<uint8_t, kBanks> used{};
    uint8_t most = 1;
    for (const Event* e : events.subspan(at, std::min(together, events.size() - at)))
      for (uintptr_t w = e->address / kBankBytes; w <= (e->address + e->size - 1) / kBankBytes;
           ++w) {
        auto& bank = words[w % kBanks];
        uint8_t& n = used[w % kBanks];
        if (n == bank.size() || std::find(bank.begin(), bank.begin() + n, w) != bank.begin() + n)
          continue;
        bank[n++] = w;
        most = std::max(most, n);
      }
    line.moved += most;
    line.ideal += 1;
    launch.wavefronts += most;
    launch.ideal_wavefronts += 1;
  }
  line.bytes += distinct_bytes(events);
}

void count_request(std::span<const Event* const> events) {
  const Event& e = *events[0];
  const bool shared = arena().zone(e.address) == Zone::shared;
  Line& line = counts().lines[{hot.grid->launch.kernel, e.site, shared}];
  LaunchCounters& launch = counts().launches.back().counters;
  line.access = e.access;
  line.shared = shared;
  line.width = e.size;
  ++line.requests;
  ++launch.requests;
  line.lanes += events.size();
  if (shared) {
    count_shared(line, launch, events);
  } else {
    count_global(line, launch, events);
  }
}

// Code bytes up to the next stretch stand for its instructions: they average about four bytes. The
// stretch ends where the hook is called again; calls of hooks inside it are not the kernel's own.
unsigned weigh(const void* site) {
  constexpr size_t kCall = 5, kLongest = 8192, kBytesPerInstruction = 4, kBytesPerHook = 12;
  const auto* code = static_cast<const unsigned char*>(site);
  const auto target = [](const unsigned char* end_of_call) {
    int32_t distance;
    std::memcpy(&distance, end_of_call - sizeof distance, sizeof distance);
    return end_of_call + distance;
  };
  if (code[-int(kCall)] != 0xe8) return 1;
  const unsigned char* self = target(code);
  size_t length = 0, calls = 0;
  for (; length < kLongest; ++length) {
    if (code[length] != 0xe8) continue;
    const unsigned char* to = target(code + length + kCall);
    if (to == self) break;
    constexpr ptrdiff_t kNearby = 1 << 13;  // the hooks lie together
    if (std::abs(to - self) < kNearby) ++calls;
  }
  const size_t hooks = std::min(calls * kBytesPerHook, length);
  return unsigned(std::max<size_t>((length - hooks) / kBytesPerInstruction, 1));
}

const char* verb(Access access) {
  switch (access) {
    case Access::write:
      return "write";
    case Access::relaxed_read:
    case Access::relaxed_write:
    case Access::update:
      return "atomic";
    default:
      return "read";
  }
}

}  // namespace

void count_launch(const Grid& grid) {
  ++counts().stamp;
  LaunchTotal total{grid.launch.kernel, {}};
  total.counters.blocks = grid.blocks;
  counts().launches.push_back(std::move(total));
}

void count_block(const Block& b) {
  LaunchCounters& launch = counts().launches.back().counters;
  launch.threads += b.threads;
  for (unsigned i = 0; i < b.threads; ++i) {
    launch.instructions += b.lanes[i].instructions;
    launch.most_instructions = std::max(launch.most_instructions, b.lanes[i].instructions);
  }
}

void count_warp(Block& b, unsigned warp) {
  Lane* lanes = &b.lanes[warp * kWarpSize];
  std::array<const Event*, kWarpSize> together;
  size_t at = 0;
  for (;; ++at) {  // as long as all lanes did the same
    size_t n = 0;
    bool same = true;
    for (unsigned i = 0; i < kWarpSize; ++i) {
      if (lanes[i].events.size() <= at) continue;
      together[n] = &lanes[i].events[at];
      same &= together[n]->site == together[0]->site && together[n]->size == together[0]->size;
      ++n;
    }
    if (n == 0 || !same) break;
    count_request({together.data(), n});
  }
  // Where lanes went different ways, the n-th execution of an instruction is one request.
  std::map<std::tuple<const void*, size_t, unsigned>, std::vector<const Event*>> groups;
  for (unsigned i = 0; i < kWarpSize; ++i) {
    std::map<std::pair<const void*, size_t>, unsigned> seen;
    for (size_t k = at; k < lanes[i].events.size(); ++k) {
      const Event& e = lanes[i].events[k];
      groups[{e.site, e.size, seen[{e.site, e.size}]++}].push_back(&e);
    }
  }
  for (const auto& [key, events] : groups) count_request(events);
  for (unsigned i = 0; i < kWarpSize; ++i) lanes[i].events.clear();
}

void count_instructions(const void* site) {
  InEmulator scope;
  Counts& all = counts();
  auto [it, fresh] = all.weights.try_emplace(site, 0);
  if (fresh) it->second = weigh(site);
  hot.lane->instructions += it->second;
  all.work[{hot.grid->launch.kernel, site}] += it->second;
}

void forget_counters() {
  const uint32_t stamp = counts().stamp;
  auto weights = std::move(counts().weights);
  counts() = {};
  counts().stamp = stamp;
  counts().weights = std::move(weights);
}

void reset_counters() { forget_counters(); }

// ---- reading them: several addresses of one source line become one row

std::vector<LineCounters> line_counters() {
  std::vector<const void*> sites;
  for (const auto& [key, line] : counts().lines) sites.push_back(std::get<1>(key));
  look_up(sites);
  std::map<std::tuple<std::string, std::string, unsigned, bool, std::string, unsigned>,
           LineCounters>
      rows;
  for (const auto& [key, line] : counts().lines) {
    const auto& [kernel, site, shared] = key;
    const SourceLine at = source_line({&site, 1});
    const std::string name = kernel_name(kernel);
    LineCounters& row = rows[{name, at.file, at.line, shared, verb(line.access), line.width}];
    row.kernel = name;
    row.at = at;
    row.access = verb(line.access);
    row.shared = shared;
    row.width = line.width;
    row.requests += line.requests;
    row.lanes += line.lanes;
    row.bytes += line.bytes;
    row.moved += line.moved;
    row.ideal += line.ideal;
    row.first += line.first;
  }
  std::vector<LineCounters> result;
  for (auto& [key, row] : rows) result.push_back(std::move(row));
  return result;
}

std::vector<WorkCounters> work_counters() {
  std::vector<const void*> sites;
  for (const auto& [key, n] : counts().work) sites.push_back(key.second);
  look_up(sites);
  std::map<std::tuple<std::string, std::string, unsigned>, WorkCounters> rows;
  for (const auto& [key, n] : counts().work) {
    const auto& [kernel, site] = key;
    if (!in_program(site)) continue;
    const SourceLine at = source_line({&site, 1});
    const std::string name = kernel_name(kernel);
    WorkCounters& row = rows[{name, at.file, at.line}];
    row.kernel = name;
    row.at = at;
    row.instructions += n;
  }
  std::vector<WorkCounters> result;
  for (auto& [key, row] : rows) result.push_back(std::move(row));
  return result;
}

std::vector<LaunchCounters> launch_counters() {
  std::vector<LaunchCounters> result;
  for (const LaunchTotal& total : counts().launches) {
    result.push_back(total.counters);
    result.back().kernel = kernel_name(total.kernel);
  }
  return result;
}

}  // namespace simt
