// Every operation of the backend by itself: how long it takes for k rows, and what share of the
// memory's speed it reaches.
//
//   kernels [shape] [threads] [rounds] [--dtype int8] [--cache-type int8] [--json file]
#include <cstdlib>
#include <cstring>
#include <string>

#include "json.h"
#include "measure.h"
#include "operations.h"

using namespace nvium;
using namespace nvium::bench;

namespace {

constexpr uint32_t kRows[] = {1, 2, 4, 8, 16, 32};
// A measurement reads about this much, in as many calls as that takes.
constexpr double kBytesOfSample = 64e6;
constexpr int kMostCalls = 2000;

struct Cell {
  Operation operation;
  uint32_t rows;
  int calls;
  std::vector<Paired::Sample> samples;

  double seconds() const {
    return median_of(samples, [&](const Paired::Sample& s, size_t) { return s.seconds / calls; });
  }
  double share() const {
    return median_of(samples, [&](const Paired::Sample& s, size_t) {
      return operation.bytes * calls / s.seconds / s.rate;
    });
  }
};

}  // namespace

int main(int argc, char** argv) {
  const Shape* shape = find_shape(argc > 1 ? argv[1] : "S");
  if (shape == nullptr) return 2;
  const uint32_t threads = argc > 2 ? uint32_t(std::atoi(argv[2])) : 2;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 9;
  const std::string file = json_file(argc, argv);
  const std::string cache_name = option(argc, argv, "--cache-type");
  const CacheType cache = cache_name == "int8" ? CacheType::int8 : CacheType::bf16;
  const Held held = find_held(option(argc, argv, "--dtype"));

  cpu::CpuBackend backend({threads, true, ""});
  backend.enter([&] {
    Pool pool(backend);
    Operations operations(backend, pool, *shape, held.type, cache);
    const Probe probe(backend.team(), pool.data(), Pool::kBytes);
    std::vector<Cell> cells;
    for (const uint32_t rows : kRows) {
      for (Operation& operation : operations.all(rows)) {
        const int calls = std::clamp(int(kBytesOfSample / operation.bytes), 1, kMostCalls);
        cells.push_back({std::move(operation), rows, calls, {}});
      }
    }
    Paired paired(probe);
    std::vector<double> rates;
    for (int round = 0; round < rounds; round++) {
      for (Cell& cell : cells) {
        cell.samples.push_back(paired.time([&] {
          for (int i = 0; i < cell.calls; i++) cell.operation.call();
        }));
        rates.push_back(cell.samples.back().rate);
      }
    }

    std::printf("%s, %s, %u threads, %s: probe %.1f GB/s (median)\n", shape->name,
                held.name.c_str(), threads, backend.kernels().name, median(rates) / 1e9);
    std::printf("%-14s %4s %11s %8s %7s %7s\n", "operation", "k", "µs", "GB/s", "share", "steady");
    Json json;
    json.begin()
        .add("shape", shape->name)
        .add("dtype", held.name)
        .add("cacheType", cache == CacheType::int8 ? "int8" : "bf16")
        .add("threads", threads)
        .add("rounds", rounds)
        .add("instructionSet", backend.kernels().name)
        .add("probe", median(rates))
        .begin("operations", '[');
    const size_t kinds = cells.size() / std::size(kRows);
    for (size_t kind = 0; kind < kinds; kind++) {
      for (size_t i = kind; i < cells.size(); i += kinds) {
        const Cell& cell = cells[i];
        const double time = cell.seconds();
        std::printf("%-14s %4u %11.2f %8.2f %7.3f %4d/%d\n", cell.operation.name.c_str(), cell.rows,
                    time * 1e6, cell.operation.bytes / time / 1e9, cell.share(),
                    steady(cell.samples), rounds);
        json.begin()
            .add("name", cell.operation.name)
            .add("rows", cell.rows)
            .add("bytes", cell.operation.bytes)
            .add("seconds", time)
            .add("share", cell.share())
            .add("streams", cell.operation.streams)
            .add("steady", steady(cell.samples))
            .end();
      }
    }
    json.end(']').end();
    if (!file.empty() && !json.write(file)) std::perror(file.c_str());
  });
}
