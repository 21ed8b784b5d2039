// The best k of many scores: one pass with a threshold that rises, and a buffer that is halved when it is full.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "simd/simd.h"

namespace flmr {

int64_t topk(const float* scores, int64_t count, const int64_t* ranks, int64_t k, int64_t* rows, const char* isa) {
  k = std::min(k, count);
  if (k <= 0) return 0;
  const Simd& table = simd(isa);
  const auto better = [&](int64_t a, int64_t b) {
    if (scores[a] != scores[b]) return scores[a] > scores[b];
    return ranks && ranks[a] != ranks[b] ? ranks[a] < ranks[b] : a < b;
  };
  const int64_t room = std::min(count, 2 * k + 64);
  std::vector<int64_t> kept;
  kept.reserve(static_cast<size_t>(room));
  float threshold = -std::numeric_limits<float>::max();  // the least float: -inf and NaN never reach it
  for (int64_t i = table.find(scores, 0, count, threshold); i < count;
       i = table.find(scores, i + 1, count, threshold)) {
    kept.push_back(i);
    if (static_cast<int64_t>(kept.size()) < room || room <= k) continue;
    std::nth_element(kept.begin(), kept.begin() + (k - 1), kept.end(), better);
    kept.resize(static_cast<size_t>(k));
    // A later row of the same score loses the tie, unless ranks say otherwise.
    threshold = ranks ? scores[kept.back()] : std::nextafter(scores[kept.back()], std::numeric_limits<float>::infinity());
  }
  const int64_t found = std::min(k, static_cast<int64_t>(kept.size()));
  std::partial_sort(kept.begin(), kept.begin() + found, kept.end(), better);
  std::copy_n(kept.begin(), found, rows);
  return found;
}

int64_t best_rows(const float* scores, int64_t count, int64_t wanted, uint32_t* rows) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  std::vector<float> found;
  found.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    if (scores[i] > kNothing) found.push_back(scores[i]);
  const int64_t kept = std::min(wanted, static_cast<int64_t>(found.size()));
  if (kept <= 0) return 0;
  std::nth_element(found.begin(), found.begin() + (kept - 1), found.end(), std::greater<float>());
  const float least = found[static_cast<size_t>(kept - 1)];
  int64_t ties = kept - std::count_if(found.begin(), found.begin() + kept, [&](float score) { return score > least; });
  int64_t written = 0;
  for (int64_t i = 0; i < count; ++i)
    if (scores[i] > least || (scores[i] == least && ties-- > 0)) rows[written++] = static_cast<uint32_t>(i);
  return written;
}

}  // namespace flmr
