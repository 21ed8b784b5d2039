// The scores of a query's rows with all centroids, as floats and rounded to bytes.

#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "query.h"
#include "threads.h"

namespace flmr {
namespace {

constexpr int64_t kCentroids = 48;  // 6 KB of 128 dimensions and as much of products: they stay in the first-level cache
constexpr int64_t kRun = 16 * kCentroids;

void score_centroids(const Simd& isa, const ByteQuery& query, int64_t block, const int8_t* centroids,
                     const float* scales, int64_t count, int64_t dim, uint8_t* tile, int32_t* dots, float* out) {
  const int64_t stride = padded_bytes(dim);
  for (int64_t c = 0; c < count; ++c)
    for (int64_t d = 0; d < dim; ++d) tile[c * stride + d] = static_cast<uint8_t>(centroids[c * dim + d] + 128);
  int32_t* low = dots + kCentroids * kBlockRows;
  isa.byte_dots(query.high(block), query.high_start(block), tile, stride, count, dim, kWhole, dots);
  isa.byte_dots(query.low(block), query.low_start(block), tile, stride, count, dim, kWhole, low);
  isa.byte_scores(dots, low, kLowShare, query.steps(block), scales, count, out);
}

// Centroids as the tokens of a tile of few rows.
void few_centroids(const Simd& isa, const FewQuery& query, int64_t block, const int8_t* centroids, const float* scales,
                   int64_t count, int64_t dim, uint8_t* bytes, uint8_t* tile, int32_t* dots, float* out) {
  for (int64_t i = 0; i < count * dim; ++i) bytes[i] = static_cast<uint8_t>(centroids[i] + 128);
  isa.few_levels(bytes, count, dim, 8, nullptr, nullptr, query.width(), tile);
  const int64_t together = isa.few_together(query.width());
  isa.few_dots(query.panel(block), tile, (count + together - 1) / together, dim, query.width(), dots);
  isa.few_scores(dots, query.steps(block), scales, count, query.width(), out);
}

// Bytes of a row are steps of unit * norm: a row that is twice as long has steps twice as wide, and what a residual may
// add to a score, which goes with the length of the row, is as many bytes in every row.
float unit_of(const float* lows, const float* highs, const float* norms, int64_t rows, float top) {
  float widest = 0;
  for (int64_t r = 0; r < rows; ++r)
    if (norms[r] > 0) widest = std::max(widest, (highs[r] - lows[r]) / norms[r]);
  return widest > 0 ? widest / top : 1.0f;
}

}  // namespace

void score_table(const float* query, int64_t rows, const int8_t* centroids, const float* centroid_scales,
                 int64_t num_centroids, int64_t dim, float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  const ByteQuery bytes_of(isa, query, rows, dim);
  const int64_t runs = (num_centroids + kRun - 1) / kRun, blocks = bytes_of.blocks();
  share(blocks * runs, run.threads, [&](Units& units) {
    Buffer<uint8_t> tile(kCentroids * padded_bytes(dim));
    std::memset(tile.get(), 0, static_cast<size_t>(kCentroids * padded_bytes(dim)));
    Buffer<int32_t> dots(2 * kCentroids * kBlockRows);
    for (int64_t unit; units.take(unit);) {
      const int64_t block = unit / runs, end = std::min(num_centroids, (unit % runs + 1) * kRun);
      for (int64_t c = unit % runs * kRun; c < end; c += kCentroids)
        score_centroids(isa, bytes_of, block, centroids + c * dim, centroid_scales + c, std::min(kCentroids, end - c),
                        dim, tile.get(), dots.get(), scores + (block * num_centroids + c) * kBlockRows);
    }
  });
}

void few_table(const float* query, int64_t rows, const int8_t* centroids, const float* centroid_scales,
               int64_t num_centroids, int64_t dim, float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  const FewQuery few(isa, query, rows, dim);
  const int64_t runs = (num_centroids + kRun - 1) / kRun, stride = isa.few_stride(few.width(), dim);
  share(few.blocks() * runs, run.threads, [&](Units& units) {
    Buffer<uint8_t> bytes(kCentroids * dim), tile(kCentroids * stride);
    std::memset(tile.get(), 0, static_cast<size_t>(kCentroids * stride));
    Buffer<int32_t> dots(kCentroids * isa.few_width(few.width()));
    for (int64_t unit; units.take(unit);) {
      const int64_t block = unit / runs, end = std::min(num_centroids, (unit % runs + 1) * kRun);
      for (int64_t c = unit % runs * kRun; c < end; c += kCentroids)
        few_centroids(isa, few, block, centroids + c * dim, centroid_scales + c, std::min(kCentroids, end - c), dim,
                      bytes.get(), tile.get(), dots.get(), scores + (block * num_centroids + c) * few.width());
    }
  });
}

float byte_table(const float* scores, const float* norms, int64_t rows, int64_t num_centroids, float top,
                 uint8_t* bytes, float* lows, Run run) {
  const Simd& isa = simd(run.isa);
  const int width = few_rows(rows);
  const int64_t blocks = (rows + width - 1) / width, runs = (num_centroids + kRun - 1) / kRun;
  std::vector<float> highs(static_cast<size_t>(blocks * width), -std::numeric_limits<float>::infinity());
  std::vector<float> factors(highs.size());
  std::fill_n(lows, blocks * width, std::numeric_limits<float>::infinity());
  for (int64_t block = 0; block < blocks; ++block)
    isa.byte_range(scores + block * num_centroids * width, num_centroids, width, lows + block * width,
                   &highs[static_cast<size_t>(block * width)]);
  const float unit = unit_of(lows, highs.data(), norms, rows, top);
  for (int64_t r = 0; r < rows; ++r)
    if (norms[r] > 0) factors[static_cast<size_t>(r)] = 1.0f / (unit * norms[r]);
  share(blocks * runs, run.threads, [&](Units& units) {
    for (int64_t number; units.take(number);) {
      const int64_t block = number / runs, first = number % runs * kRun;
      const int64_t place = (block * num_centroids + first) * width;
      isa.byte_round(scores + place, lows + block * width, &factors[static_cast<size_t>(block * width)], top,
                     std::min(kRun, num_centroids - first), width, bytes + place);
    }
  });
  return unit;
}

}  // namespace flmr
