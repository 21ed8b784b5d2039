// The best k of many scores: one pass with a threshold that rises, and a buffer that is halved when it is full.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
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

namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();  // of no item that may be found
constexpr int64_t kStride = 32;

// A score that the `wanted`-th best is hardly below, from every 32nd score; kNothing where that cannot be said.
float likely_floor(const float* scores, int64_t count, int64_t wanted) {
  if (wanted * 4 > count || count < 128 * kStride) return kNothing;
  std::vector<float> sample;
  sample.reserve(static_cast<size_t>(count / kStride + 1));
  for (int64_t i = 0; i < count; i += kStride)
    if (scores[i] > kNothing) sample.push_back(scores[i]);
  const double share = static_cast<double>(wanted) / kStride;
  const auto place = static_cast<size_t>(share + 4 * std::sqrt(share) + 4);
  if (place >= sample.size()) return kNothing;
  std::nth_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(place), sample.end(), std::greater<float>());
  return sample[place];
}

// The scores above kNothing that are not below a floor, written without branches; returns their number.
int64_t collect(const float* scores, int64_t count, float floor, float* out) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    out[found] = scores[i];
    found += (scores[i] >= floor) & (scores[i] > kNothing);
  }
  return found;
}

}  // namespace

int64_t best_rows(const float* scores, int64_t count, int64_t wanted, uint32_t* rows) {
  const std::unique_ptr<float[]> found(new float[static_cast<size_t>(count) + 1]);
  const float floor = likely_floor(scores, count, wanted);
  int64_t some = collect(scores, count, floor, found.get());
  if (some < wanted && floor > kNothing) some = collect(scores, count, kNothing, found.get());
  const int64_t kept = std::min(wanted, some);
  if (kept <= 0) return 0;
  std::nth_element(found.get(), found.get() + (kept - 1), found.get() + some, std::greater<float>());
  const float least = found[static_cast<size_t>(kept - 1)];
  int64_t ties = kept - std::count_if(found.get(), found.get() + kept, [&](float score) { return score > least; });
  int64_t written = 0;
  for (int64_t i = 0; written < kept; ++i) {
    const bool tied = (scores[i] == least) & (ties > 0);
    rows[written] = static_cast<uint32_t>(i);
    written += (scores[i] > least) | tied;
    ties -= tied;
  }
  return written;
}

}  // namespace flmr
