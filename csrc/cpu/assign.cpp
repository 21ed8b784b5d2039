// The nearest centroid of each vector: |v - c|^2 = |v|^2 + 2 (|c|^2 / 2 - v.c), so the least |c|^2 / 2 - v.c wins.

#include <algorithm>
#include <cstring>
#include <limits>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

constexpr int64_t kVectors = 128;  // packed they are 64 KB at 128 dimensions: they stay while all centroids pass

float squared_distance(const float* a, const float* b, int64_t dim) {
  double total[4] = {0, 0, 0, 0};
  int64_t d = 0;
  for (; d + 4 <= dim; d += 4)
    for (int i = 0; i < 4; ++i) {
      const double difference = static_cast<double>(a[d + i]) - b[d + i];
      total[i] += difference * difference;
    }
  for (; d < dim; ++d) total[0] += (static_cast<double>(a[d]) - b[d]) * (static_cast<double>(a[d]) - b[d]);
  return static_cast<float>((total[0] + total[1]) + (total[2] + total[3]));
}

}  // namespace

void assign(const Rows& vectors, const float* centroids, int64_t num_centroids, uint32_t* codes, float* distances,
            Run run) {
  const Simd& isa = simd(run.isa);
  const int64_t dim = vectors.dim, tile = tile_tokens(dim);
  Buffer<float> half_norms(num_centroids);
  for (int64_t c = 0; c < num_centroids; ++c) {
    double total = 0;
    for (int64_t d = 0; d < dim; ++d) total += static_cast<double>(centroids[c * dim + d]) * centroids[c * dim + d];
    half_norms.get()[c] = static_cast<float>(total / 2);
  }
  share((vectors.count + kVectors - 1) / kVectors, run.threads, [&](Units& units) {
    Panels panels(isa, kVectors, dim);
    Buffer<float> rows(kVectors * dim), dots(tile * panels.width());
    Buffer<float> best(kVectors + panels.width()), code(kVectors + panels.width());
    for (int64_t unit; units.take(unit);) {
      const int64_t first = unit * kVectors, last = std::min(vectors.count, first + kVectors);
      copy_rows(isa, vectors, first, last, rows.get());
      panels.pack({rows.get(), false, last - first, dim}, 0, last - first);
      std::fill_n(best.get(), panels.padded(), std::numeric_limits<float>::infinity());
      std::fill_n(code.get(), panels.padded(), 0.0f);
      for (int64_t c = 0; c < num_centroids; c += tile) {
        const int64_t count = std::min(tile, num_centroids - c);
        panels.each([&](const float* panel, int64_t row, int64_t width) {
          isa.dots(panel, static_cast<int>(width / isa.lanes), centroids + c * dim, count, dim, dots.get());
          isa.nearest(dots.get(), half_norms.get() + c, count, width, static_cast<uint32_t>(c), best.get() + row,
                      code.get() + row);
        });
      }
      std::memcpy(codes + first, code.get(), static_cast<size_t>(last - first) * sizeof(uint32_t));
      for (int64_t t = first; t < last; ++t)
        distances[t] = squared_distance(rows.get() + (t - first) * dim, centroids + codes[t] * dim, dim);
    }
  });
}

}  // namespace flmr
