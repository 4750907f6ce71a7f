#include "races.h"

#include <array>
#include <cstring>
#include <vector>

#include "arena.h"
#include "hand_over.h"
#include "ops.h"
#include "report.h"
#include "reserve.h"

namespace simt {

namespace {

// Cells of words that different threads access byte by byte.
using Bytes = std::array<Cell, kCellBytes>;

struct Splits {
  std::vector<Bytes> pool;
  std::vector<uint32_t> free;

  uint32_t take(const Cell& cell) {
    Bytes bytes;
    bytes.fill(cell);
    if (free.empty()) {
      pool.push_back(bytes);
      return uint32_t(pool.size() - 1);
    }
    const uint32_t i = free.back();
    free.pop_back();
    pool[i] = bytes;
    return i;
  }
};

Splits& splits() {
  static Splits& instance = *new Splits;
  return instance;
}

const char* verb(Access access) {
  switch (access) {
    case Access::write:
      return "write";
    case Access::relaxed_write:
    case Access::update:
      return "atomic update";
    case Access::relaxed_read:
      return "atomic read";
    default:
      return "read";
  }
}

bool is_relaxed(Access a) {
  return a == Access::relaxed_read || a == Access::relaxed_write || a == Access::update;
}
bool is_write(Access a) {
  return a == Access::write || a == Access::relaxed_write || a == Access::update;
}

class Check {
 public:
  Check(const Actor& actor, uintptr_t address, size_t size, Access access, const void* site)
      : actor_(actor),
        address_(address),
        size_(size),
        access_(access),
        site_(site),
        shared_(arena().zone(address) == Zone::shared) {
    now_.block = actor.block;
    if (const Lane* l = actor.lane) {
      const Block& b = *l->block;
      now_.thread = l->id;
      now_.tick = l->tick;
      now_.warp_epoch = b.warp[l->warp].epoch;
      now_.epoch = b.epoch;
      now_.site = pack_site(site);
    } else if (actor.block == kHost) {
      set_host_time(now_, history().host_time());
    }
  }

  void cell(Cell& c) {
    if (is_write(access_)) {
      write(c);
    } else {
      read(c);
    }
  }

 private:
  // The host has no threads or barriers: a record of it keeps the time instead.
  static void set_host_time(Record& r, uint64_t time) {
    r.tick = time & 0x3fff;
    r.warp_epoch = time >> 14 & 0x3ffff;
    r.epoch = time >> 32;
  }
  static uint64_t host_time(const Record& r) {
    return uint64_t(r.epoch) << 32 | uint64_t(r.warp_epoch) << 14 | r.tick;
  }

  bool same_thread(const Record& r) const {
    return r.block == now_.block && r.thread == now_.thread;
  }
  bool same_interval(const Record& r) const {
    return r.block == now_.block && r.thread == now_.thread && r.epoch == now_.epoch &&
           r.warp_epoch == now_.warp_epoch && r.tick == now_.tick;
  }
  bool own_launch(const Record& r) const {
    return r.block >= actor_.op->first_block &&
           r.block - actor_.op->first_block < actor_.op->blocks;
  }
  bool covered(const ClockRef& clock, const Record& r) const {
    return clock && clock->covers({r.block, uint32_t(r.epoch), uint32_t(r.thread / kWarpSize),
                                   uint32_t(r.warp_epoch), uint32_t(r.thread), uint32_t(r.tick)});
  }

  bool ordered(const Record& r) const {
    if (r.block == kNobody) return true;
    if (r.block == now_.block) {
      if (!actor_.lane || r.thread == now_.thread || r.epoch != now_.epoch) return true;
      if (r.thread / kWarpSize == now_.thread / kWarpSize && r.warp_epoch != now_.warp_epoch)
        return true;
      return covered(actor_.lane->acquired, r);
    }
    if (shared_) return true;  // what another block left behind in the same place
    if (r.block == kHost) return !actor_.op || host_time(r) <= actor_.op->host_time;
    if (actor_.block == kHost) {
      const Op* op = history().find(r.block);
      return !op || history().known_to_host(*op);
    }
    const bool waited = !actor_.lane || actor_.lane->grid_synced;
    if (actor_.lane) {
      if (r.block < (waited ? hot.grid->floor : hot.grid->floor_unsynced)) return true;
      if (own_launch(r)) {
        if (covered(actor_.lane->acquired, r)) return true;
        // A relaxed or L1-bypassing access needs no fence behind the atomic that it relies on.
        return (is_relaxed(access_) || access_ == Access::bypass_read) &&
               covered(actor_.lane->observed, r);
      }
    }
    const Op* op = history().find(r.block);
    return !op || History::ordered(*op, *actor_.op, waited);
  }

  void read(Cell& c) {
    Record& r = c.read;
    if (r.block == now_.block && same_interval(r)) return;  // nobody has written since
    const Record& w = c.write;
    if (access_ == Access::read_only && actor_.lane && own_launch(w)) {
      stale(w);
    } else {
      check_write(w);
    }
    if (access_ == Access::relaxed_read) return;
    unsigned readers = kSoleReader;
    const bool same_warp = r.thread / kWarpSize == now_.thread / kWarpSize;
    if (!same_thread(r) && !ordered(r)) {
      readers = r.block != now_.block ? kBlocksRead : same_warp ? kLanesRead : kWarpsRead;
    }
    // Earlier readers are still unordered, unless the thread has learnt of others since.
    if (r.block == now_.block && !(actor_.lane && actor_.lane->acquired)) {
      const bool holds =
          r.flags == kBlocksRead ||
          (r.epoch == now_.epoch &&
           (r.flags == kWarpsRead || (same_warp && r.warp_epoch == now_.warp_epoch)));
      if (holds) readers = std::max<unsigned>(readers, r.flags);
    }
    r = now_;
    r.flags = readers;
  }

  void write(Cell& c) {
    const bool relaxed = is_relaxed(access_);
    check_write(c.write);
    const Record& r = c.read;
    if (!ordered(r)) {
      race(r, "read");
    } else if (others_read_too(r)) {
      race_with_readers(r);
    }
    c.write = now_;
    c.write.flags = relaxed ? kRelaxed : 0;
    c.read = {};
  }

  void check_write(const Record& w) {
    if (ordered(w)) return;
    const bool atomic = w.flags == kRelaxed;
    if (atomic && is_relaxed(access_)) return;
    // Atomics of one location have an order: whoever came after the write has it behind itself.
    if (atomic && actor_.lane && saw_last_atomic(*actor_.lane, address_)) return;
    race(w, atomic ? "atomic update" : "write");
  }

  // The record holds only the last reader. Others that read as well were not ordered before it;
  // what this thread has learnt through atomics since may have changed that.
  bool others_read_too(const Record& r) const {
    if (r.block != now_.block || !actor_.lane) return false;
    if (actor_.lane->acquired && !same_interval(r)) return false;
    if (r.flags == kBlocksRead) return true;
    if (r.epoch != now_.epoch) return false;
    if (r.flags == kWarpsRead) return true;
    return r.flags == kLanesRead && r.warp_epoch == now_.warp_epoch;
  }

  [[gnu::noinline]] void stale(const Record& w) {
    report_once(Kind::stale_read_only_load, w,
                "the read-only cache is not kept coherent with writes of the same launch");
  }

  // A launch that began early was there before this one, which it should have waited for.
  bool came_too_early(const Record& other) const {
    if (!actor_.op || other.block < kFirstBlock || other.block < actor_.op->first_block)
      return false;
    const Op* op = history().find(other.block);
    return op && op != actor_.op && op->dependent && op->stream == actor_.op->stream;
  }

  [[gnu::noinline]] void race(const Record& other, const char* what) {
    if (came_too_early(other)) {
      const void* site = unpack_site(other.site);
      if (already_reported(Kind::missing_grid_dependency, site)) return;
      report(Kind::missing_grid_dependency, {site}, address_,
             std::string(what) + " by " + who(other) + " before the launch ahead, which " +
                 (is_write(access_) ? "writes" : "reads") + " it, had ended",
             {site_});
      return;
    }
    const auto [kind, why] = explain(other);
    if (already_reported(kind, site_)) return;
    report_once(kind, other,
                std::string(verb(access_)) + " of " + std::to_string(size_) + " bytes; " + what +
                    " by " + who(other) + "; " + why);
  }

  [[gnu::noinline]] void race_with_readers(const Record& r) {
    const Kind kind = r.flags == kBlocksRead  ? Kind::race_between_blocks
                      : r.flags == kWarpsRead ? Kind::race_in_block
                                              : Kind::race_in_warp;
    report_once(kind, r,
                std::string(verb(access_)) + " of " + std::to_string(size_) +
                    " bytes that other threads have read, with nothing between them");
  }

  void report_once(Kind kind, const Record& other, std::string text) {
    const Op* op = other.block >= kFirstBlock ? history().find(other.block) : nullptr;
    Trail at_other;
    if (op && op->kernel && other.site) {
      at_other = {unpack_site(other.site)};
    } else if (op) {
      at_other = trail(op->site);
    }
    Trail at = actor_.lane || !actor_.op ? Trail{site_} : trail(actor_.op->site);
    report(kind, at, address_, std::move(text), at_other);
  }

  std::pair<Kind, std::string> explain(const Record& other) const {
    if (other.block == kHost)
      return {Kind::missing_host_sync,
              "the host did so after it had issued this operation, without waiting for it"};
    if (actor_.block == kHost) return {Kind::missing_host_sync, "the host has not waited for it"};
    if (other.block == now_.block) {
      if (other.thread / kWarpSize == now_.thread / kWarpSize)
        return {Kind::race_in_warp, "no __syncwarp or barrier is between them"};
      if (met_through_atomics(*actor_.lane, other.block) &&
          (actor_.lane->observed || !actor_.lane->block->fenced.empty()))
        return {Kind::unfenced_hand_over,
                "an atomic is between them, but not a fence on each side"};
      return {Kind::race_in_block, "no barrier is between them"};
    }
    if (actor_.lane && own_launch(other)) {
      if (covered(actor_.lane->observed, other))
        return {Kind::unfenced_hand_over,
                "a fence is missing behind the atomic that this relies on"};
      if (met_through_atomics(*actor_.lane, other.block))
        return {Kind::unfenced_hand_over,
                "the atomic between them does not follow a fence behind that access"};
      return {Kind::race_between_blocks, "nothing orders the two blocks"};
    }
    const Op* op = history().find(other.block);
    const bool same_graph = op && op->graph_run && op->graph_run == actor_.op->graph_run;
    if (op &&
        (same_graph ? History::ordered(*op, *actor_.op, true) : op->stream == actor_.op->stream))
      return {Kind::missing_grid_dependency,
              "a dependent launch did not wait, and that one may not have finished"};
    return {Kind::missing_stream_order, "nothing orders the two operations"};
  }

  std::string who(const Record& r) const {
    if (r.block == kHost) return "the host";
    const Op* op = history().find(r.block);
    if (!op) return "an earlier operation";
    if (!op->kernel)
      return std::string("a ") + op->what + " of stream " + std::to_string(op->stream);
    const unsigned linear = r.block - op->first_block, t = unsigned(r.thread);
    char text[128];
    std::snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u)", t % op->block.x,
                  t / op->block.x % op->block.y, t / op->block.x / op->block.y, linear % op->grid.x,
                  linear / op->grid.x % op->grid.y, linear / op->grid.x / op->grid.y);
    return std::string(text) +
           (op == actor_.op ? "" : " of an earlier kernel in stream " + std::to_string(op->stream));
  }

  Actor actor_;
  uintptr_t address_;
  size_t size_;
  Access access_;
  const void* site_;
  bool shared_;
  Record now_;
};

// Accesses part of a word, or a word that has been split.
[[gnu::noinline]] void check_bytes(Check& check, Cell& cell, size_t first, size_t count,
                                   bool write) {
  Splits& all = splits();
  if (cell.write.block != kSplit) {
    const uint32_t i = all.take(cell);
    cell = {};
    cell.write.block = kSplit;
    cell.read.block = i;
  }
  const uint32_t i = cell.read.block;
  for (size_t b = first; b < first + count; ++b) check.cell(all.pool[i][b]);
  if (count == kCellBytes && write) {  // all bytes are alike again
    cell = all.pool[i][0];
    all.free.push_back(i);
  }
}

const char kAnchor = 0;

}  // namespace

int32_t pack_site(const void* site) {
  return int32_t(reinterpret_cast<intptr_t>(site) - reinterpret_cast<intptr_t>(&kAnchor));
}

const void* unpack_site(int32_t packed) {
  return reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(&kAnchor) + packed);
}

void check_races(const Actor& actor, uintptr_t address, size_t size, Access access,
                 const void* site) {
  Check check(actor, address, size, access, site);
  const uintptr_t end = address + size;
  while (address < end) {
    Cell& cell = *arena().cell(address);
    const size_t first = address % kCellBytes;
    const size_t count = std::min<size_t>(kCellBytes - first, end - address);
    if (count == kCellBytes && cell.write.block != kSplit) {
      check.cell(cell);
    } else {
      check_bytes(check, cell, first, count, is_write(access));
    }
    address += count;
  }
}

void forget_accesses(uintptr_t address, size_t size) {
  const size_t cells = (size + kCellBytes - 1) / kCellBytes;
  discard(arena().cell(address), cells * sizeof(Cell));
}

void forget_all_accesses() {
  discard(arena().cell(hot.arena), kArena / kCellBytes * sizeof(Cell));
  splits() = {};
}

}  // namespace simt
