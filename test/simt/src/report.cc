#include "report.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <set>

#include "arena.h"
#include "state.h"
#include "symbols.h"

namespace simt {

namespace {

struct Notice {
  Kind kind;
  Trail at, other;
  const void* kernel;
  std::string thread;
  uintptr_t address;
  std::string where;
  std::string detail;
};

constexpr size_t kMaxNotices = 500;

struct Notices {
  std::vector<Notice> list;
  std::set<std::pair<Kind, Trail>> seen;
};

Notices& notices() {
  static Notices& instance = *new Notices;
  return instance;
}

std::string running_thread() {
  const Lane& l = *hot.lane;
  char text[96];
  std::snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u)", l.thread.x, l.thread.y,
                l.thread.z, l.block->index.x, l.block->index.y, l.block->index.z);
  return text;
}

std::string at(const SourceLine& line) { return line.file + ":" + std::to_string(line.line); }

}  // namespace

std::string_view name(Kind kind) {
  switch (kind) {
    case Kind::out_of_bounds:
      return "out of bounds";
    case Kind::shared_out_of_bounds:
      return "shared memory out of bounds";
    case Kind::use_after_free:
      return "use after free";
    case Kind::uninitialised_read:
      return "uninitialised read";
    case Kind::misaligned_access:
      return "misaligned access";
    case Kind::host_memory_in_kernel:
      return "host memory in kernel";
    case Kind::device_memory_in_host_code:
      return "device memory in host code";
    case Kind::other_threads_stack:
      return "local memory of another thread";
    case Kind::race_in_warp:
      return "race in a warp";
    case Kind::race_in_block:
      return "race in a block";
    case Kind::race_between_blocks:
      return "race between blocks";
    case Kind::unfenced_hand_over:
      return "unfenced hand-over";
    case Kind::stale_read_only_load:
      return "stale read-only load";
    case Kind::divergent_barrier:
      return "divergent barrier";
    case Kind::exit_before_barrier:
      return "exit before barrier";
    case Kind::mismatched_mask:
      return "mismatched mask";
    case Kind::undefined_condition:
      return "undefined condition";
    case Kind::copy_in_flight:
      return "cp.async in flight";
    case Kind::copy_never_awaited:
      return "cp.async never awaited";
    case Kind::deadlock:
      return "deadlock";
    case Kind::live_lock:
      return "live-lock";
    case Kind::missing_stream_order:
      return "missing order between streams";
    case Kind::missing_host_sync:
      return "missing synchronisation with the host";
    case Kind::missing_grid_dependency:
      return "missing grid dependency wait";
    case Kind::bad_copy:
      return "bad copy";
    case Kind::bad_launch:
      return "bad launch";
    case Kind::bad_free:
      return "bad free";
    case Kind::condition_set_twice:
      return "condition set twice";
    case Kind::leak:
      return "leak";
    case Kind::trap:
      return "trap";
  }
  return "?";
}

Trail trail(const CallSite& site) { return {site.frames().begin(), site.frames().end()}; }

const void* as_site(const std::source_location& place) {
  static_assert(sizeof place == sizeof(void*));
  return std::bit_cast<const void*>(place);
}

std::string describe_place(const std::source_location& place) {
  const std::string file = place.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(place.line());
}

bool already_reported(Kind kind, const void* at) {
  return notices().list.size() >= kMaxNotices || notices().seen.contains({kind, {at}});
}

void report(Kind kind, const Trail& at, uintptr_t address, std::string detail, const Trail& other,
            const void* kernel) {
  Notices& all = notices();
  if (all.list.size() >= kMaxNotices || !all.seen.insert({kind, at}).second) return;
  if (!kernel && hot.grid) kernel = hot.grid->launch.kernel;
  all.list.push_back({kind, at, other, kernel, hot.lane ? running_thread() : "", address,
                      address ? arena().describe(address) : "", std::move(detail)});
}

std::vector<Report> take_reports() {
  const std::vector<Notice> list = std::move(notices().list);
  forget_reports();
  std::vector<const void*> sites;
  for (const Notice& n : list) {
    sites.insert(sites.end(), n.at.begin(), n.at.end());
    sites.insert(sites.end(), n.other.begin(), n.other.end());
  }
  look_up(sites);
  std::vector<Report> reports;
  std::set<std::pair<Kind, std::string>> seen;  // an unrolled line has several addresses
  for (const Notice& n : list) {
    Report r{n.kind,  kernel_name(n.kernel), source_line(n.at), {}, n.thread, n.address, n.where,
             n.detail};
    if (!n.other.empty()) r.other = source_line(n.other);
    if (seen.insert({r.kind, at(r.at)}).second) reports.push_back(std::move(r));
  }
  return reports;
}

void forget_reports() { notices() = {}; }

std::string to_string(const Report& r) {
  std::string text = std::string(name(r.kind)) + " at " + at(r.at);
  if (!r.kernel.empty()) text += " in kernel " + r.kernel;
  if (!r.thread.empty()) text += "\n  by " + r.thread;
  if (r.address) {
    char address[32];
    std::snprintf(address, sizeof address, "%#zx", size_t(r.address));
    text += std::string("\n  address ") + address;
    if (!r.where.empty()) text += ", " + r.where;
  }
  if (!r.detail.empty()) text += "\n  " + r.detail;
  if (!r.other.file.empty()) text += "\n  the other access is at " + at(r.other);
  return text;
}

}  // namespace simt
