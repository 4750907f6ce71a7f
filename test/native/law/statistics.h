// Pearson's chi-square test over bins of about equal expected mass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace law {

// A law is refused where such a deviation, or a larger one, would turn up once in a million.
constexpr double kAlpha = 1e-6;

// The probability that a chi-square variable of `freedom` degrees exceeds x: the upper incomplete
// gamma function, by its series or by its continued fraction (Lentz).
inline double chi_square_tail(double x, double freedom) {
  const double a = freedom / 2, z = x / 2;
  if (!(z > 0)) return 1;
  const double factor = std::exp(a * std::log(z) - z - std::lgamma(a));
  if (z < a + 1) {
    double term = 1 / a, sum = term;
    for (double n = a + 1; term > sum * 1e-16; n++) sum += term *= z / n;
    return 1 - factor * sum;
  }
  double b = z + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (int i = 1; i < 10000; i++) {
    const double an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (std::fabs(d * c - 1) < 1e-15) break;
  }
  return factor * h;
}

// The p-value of counts against a law, given up to a factor.
inline double p_value(const std::vector<uint64_t>& counts, const std::vector<double>& law) {
  const double draws = double(std::accumulate(counts.begin(), counts.end(), uint64_t(0)));
  const double total = std::accumulate(law.begin(), law.end(), 0.0);
  double x = 0;
  for (size_t i = 0; i < counts.size(); i++) {
    const double expected = draws * law[i] / total;
    x += (double(counts[i]) - expected) * (double(counts[i]) - expected) / expected;
  }
  return chi_square_tail(x, double(counts.size()) - 1);
}

// Which bin each cell of a law belongs to. Cells of one group go by probability, the largest first,
// into bins of at least 1 / `bins` of all; what is left of a group joins the bin before, that of
// another group where it is very little.
class Bins {
 public:
  Bins(const std::vector<double>& law, const std::vector<uint32_t>& group, uint32_t bins)
      : of_(law.size()) {
    std::vector<uint32_t> order(law.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return group[a] != group[b] ? group[a] < group[b] : law[a] > law[b];
    });
    const double whole = std::accumulate(law.begin(), law.end(), 0.0) / bins;
    for (size_t i = 0; i < order.size();) {
      const size_t begin = i;
      const uint32_t of_group = group[order[begin]];
      double left = 0;
      for (size_t j = begin; j < order.size() && group[order[j]] == of_group; j++) {
        left += law[order[j]];
      }
      // What lies ahead is a bin of its own, or the rest of the group.
      double mass = 0;
      while (i < order.size() && group[order[i]] == of_group && (mass < whole || left < whole)) {
        mass += law[order[i]];
        left -= law[order[i]];
        i++;
      }
      if (mass_.empty() || mass >= whole / 10) mass_.push_back(0);
      for (size_t j = begin; j < i; j++) of_[order[j]] = uint32_t(mass_.size()) - 1;
      mass_.back() += mass;
    }
    counts_.resize(mass_.size());
  }

  size_t size() const { return mass_.size(); }
  void count(size_t cell) { counts_[of_[cell]]++; }
  double p_value() const { return law::p_value(counts_, mass_); }

  // The same bins as groups for a finer law.
  uint32_t of(size_t cell) const { return of_[cell]; }

 private:
  std::vector<uint32_t> of_;
  std::vector<double> mass_;
  std::vector<uint64_t> counts_;
};

}  // namespace law
