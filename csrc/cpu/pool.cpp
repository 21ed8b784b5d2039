// Fewer rows an item: those that are most alike are replaced by their mean.  Greedy clustering by Ward's criterion, the
// distances of merged clusters by the formula of Lance and Williams (1967).

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

float squared_distance(const float* a, const float* b, int64_t dim) {
  float total[16] = {};
  int64_t d = 0;
  for (; d + 16 <= dim; d += 16)
    for (int i = 0; i < 16; ++i) total[i] += (a[d + i] - b[d + i]) * (a[d + i] - b[d + i]);
  for (int i = 0; d + i < dim; ++i) total[i] += (a[d + i] - b[d + i]) * (a[d + i] - b[d + i]);
  for (int width = 8; width; width /= 2)
    for (int i = 0; i < width; ++i) total[i] += total[i + width];
  return total[0];
}

// The rows of one stretch and the clusters that they have become; a cluster is known by its lowest row.
class Clusters {
 public:
  Clusters(const float* rows, int64_t count, int64_t dim)
      : rows_(rows), count_(count), dim_(dim), distances_(count * count), sizes_(count, 1), nearest_(count),
        cluster_of_(count), alive_(count, 1) {
    for (int64_t i = 0; i < count; ++i) {
      cluster_of_[i] = i;
      for (int64_t j = 0; j < i; ++j)
        at(i, j) = at(j, i) = squared_distance(rows + i * dim, rows + j * dim, dim) / 2;
    }
    for (int64_t i = 0; i < count; ++i) find_nearest(i);
  }

  // Merges the two clusters whose merger costs the least squared error.
  void merge_closest() {
    int64_t first = -1;
    for (int64_t i = 0; i < count_; ++i)
      if (alive_[i] && (first < 0 || at(i, nearest_[i]) < at(first, nearest_[first]))) first = i;
    const int64_t second = std::max(first, nearest_[first]);
    first = std::min(first, nearest_[first]);
    const float between = at(first, second), a = sizes_[first], b = sizes_[second];
    for (int64_t k = 0; k < count_; ++k)
      if (alive_[k] && k != first && k != second) {
        const float n = sizes_[k];
        at(k, first) = at(first, k) = ((a + n) * at(first, k) + (b + n) * at(second, k) - n * between) / (a + b + n);
      }
    sizes_[first] += sizes_[second];
    alive_[second] = 0;
    for (int64_t i = 0; i < count_; ++i)
      if (cluster_of_[i] == second) cluster_of_[i] = first;
    for (int64_t k = 0; k < count_; ++k)
      if (alive_[k] && (k == first || nearest_[k] == first || nearest_[k] == second)) find_nearest(k);
  }

  // Means, as long as their members are on average, in the order of the clusters' lowest rows.
  void write(float* out) const {
    std::vector<double> sum(dim_);
    for (int64_t c = 0; c < count_; ++c) {
      if (!alive_[c]) continue;
      std::fill(sum.begin(), sum.end(), 0.0);
      double lengths = 0;
      for (int64_t i = c; i < count_; ++i)
        if (cluster_of_[i] == c) {
          double square = 0;
          for (int64_t d = 0; d < dim_; ++d) {
            const double value = rows_[i * dim_ + d];
            sum[d] += value;
            square += value * value;
          }
          lengths += std::sqrt(square);
        }
      double square = 0;
      for (double value : sum) square += value * value;
      const double factor = square > 0 ? lengths / sizes_[c] / std::sqrt(square) : 0;
      for (int64_t d = 0; d < dim_; ++d) *out++ = static_cast<float>(sum[d] * factor);
    }
  }

 private:
  float& at(int64_t i, int64_t j) { return distances_[i * count_ + j]; }

  void find_nearest(int64_t i) {
    float least = std::numeric_limits<float>::infinity();
    nearest_[i] = i == 0 ? 1 : 0;
    for (int64_t j = 0; j < count_; ++j)
      if (alive_[j] && j != i && at(i, j) < least) {
        least = at(i, j);
        nearest_[i] = j;
      }
  }

  const float* rows_;
  const int64_t count_, dim_;
  std::vector<float> distances_;
  std::vector<float> sizes_;
  std::vector<int64_t> nearest_, cluster_of_;
  std::vector<char> alive_;
};

}  // namespace

void pool(const Ragged& items, int64_t factor, int64_t stretch, const int64_t* pooled_offsets, float* pooled, Run run) {
  const Simd& isa = simd(run.isa);
  const int64_t dim = items.rows.dim;
  share(items.items, run.threads, [&](Units& units) {
    Buffer<float> rows(stretch * dim);
    for (int64_t item; units.take(item);) {
      float* out = pooled + pooled_offsets[item] * dim;
      for (int64_t first = items.offsets[item]; first < items.offsets[item + 1]; first += stretch) {
        const int64_t count = std::min(stretch, items.offsets[item + 1] - first);
        copy_rows(isa, items.rows, first, first + count, rows.get());
        Clusters clusters(rows.get(), count, dim);
        const int64_t wanted = (count + factor - 1) / factor;
        for (int64_t left = count; left > wanted; --left) clusters.merge_closest();
        clusters.write(out);
        out += wanted * dim;
      }
    }
  });
}

}  // namespace flmr
