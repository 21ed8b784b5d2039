// The mean of each centroid's vectors.  A thread owns whole centroids and adds their vectors in order, so the bits do not
// depend on how many threads there are.

#include <algorithm>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

constexpr int64_t kCentroids = 16;  // a unit of work

}  // namespace

void means(const Rows& vectors, const uint16_t* codes, int64_t num_centroids, float* means, int64_t* counts, Run run) {
  const Simd& isa = simd(run.isa);
  const int64_t dim = vectors.dim;
  Buffer<int64_t> ends(num_centroids), members(vectors.count);
  std::fill_n(counts, num_centroids, 0);
  for (int64_t t = 0; t < vectors.count; ++t) {
    if (codes[t] >= num_centroids)
      throw Refused("code " + std::to_string(codes[t]) + " is not below the " + std::to_string(num_centroids) +
                    " centroids");
    ++counts[codes[t]];
  }
  for (int64_t c = 0, place = 0; c < num_centroids; ++c) {
    ends.get()[c] = place;
    place += counts[c];
  }
  for (int64_t t = 0; t < vectors.count; ++t) members.get()[ends.get()[codes[t]]++] = t;  // each end moves past its last
  share((num_centroids + kCentroids - 1) / kCentroids, run.threads, [&](Units& units) {
    Buffer<double> total(dim);
    Buffer<float> row(dim);
    for (int64_t unit; units.take(unit);) {
      const int64_t last = std::min(num_centroids, (unit + 1) * kCentroids);
      for (int64_t c = unit * kCentroids; c < last; ++c) {
        std::fill_n(total.get(), dim, 0.0);
        const int64_t end = ends.get()[c];
        for (int64_t i = end - counts[c]; i < end; ++i) {
          const int64_t t = members.get()[i];
          copy_rows(isa, vectors, t, t + 1, row.get());
          for (int64_t d = 0; d < dim; ++d) total.get()[d] += row.get()[d];
        }
        const double count = counts[c] ? static_cast<double>(counts[c]) : 1.0;
        for (int64_t d = 0; d < dim; ++d) means[c * dim + d] = static_cast<float>(total.get()[d] / count);
      }
    }
  });
}

}  // namespace flmr
