#include "clock.h"

#include <algorithm>

namespace simt {

void Clock::add(uint64_t key, uint32_t value) {
  auto it = std::lower_bound(entries_.begin(), entries_.end(), key,
                             [](const Entry& e, uint64_t k) { return e.key < k; });
  if (it != entries_.end() && it->key == key) {
    it->value = std::max(it->value, value);
  } else {
    entries_.insert(it, {key, value});
  }
}

uint32_t Clock::value(uint64_t key) const {
  auto it = std::lower_bound(entries_.begin(), entries_.end(), key,
                             [](const Entry& e, uint64_t k) { return e.key < k; });
  return it != entries_.end() && it->key == key ? it->value : 0;
}

void Clock::merge(const Clock& other) {
  std::vector<Entry> merged;
  merged.reserve(entries_.size() + other.entries_.size());
  auto a = entries_.begin();
  for (const Entry& b : other.entries_) {
    while (a != entries_.end() && a->key < b.key) merged.push_back(*a++);
    if (a != entries_.end() && a->key == b.key) {
      merged.push_back({b.key, std::max(a++->value, b.value)});
    } else {
      merged.push_back(b);
    }
  }
  merged.insert(merged.end(), a, entries_.end());
  entries_ = std::move(merged);
}

void merge(ClockRef& into, const ClockRef& from) {
  if (!from || into == from) return;
  if (!into) {
    into = from;
    return;
  }
  auto merged = std::make_shared<Clock>(*into);
  merged->merge(*from);
  into = std::move(merged);
}

}  // namespace simt
