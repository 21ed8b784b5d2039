// The nearest centroid of each vector: |v - c|^2 = |v|^2 + 2 (|c|^2 / 2 - v.c), so the least |c|^2 / 2 - v.c wins.
// Once in float32, and once with both rounded to bytes, which is several times as fast.

#include <algorithm>
#include <cmath>
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

// A vector as bytes times a step.  Shorter ones than this in every dimension count as zero: 127 / kLeast is still finite.
constexpr float kLeast = 0x1p-64f;
constexpr float kFloatMax = std::numeric_limits<float>::max();

// values[d] = round(row[d] * 127 / max |row|), halves to even; returns 127 / max |row|, 1 for a row of zeros, or NaN
// where the row holds NaN or infinity (its bytes are zeros then).
float round_row(const float* row, int64_t dim, int8_t* values) {
  float most = 0;
  bool ordered = true;
  for (int64_t d = 0; d < dim; ++d) {
    const float size = std::fabs(row[d]);
    most = size > most ? size : most;
    ordered &= size <= kFloatMax;
  }
  if (!ordered || most < kLeast) {
    std::fill_n(values, dim, int8_t{0});
    return ordered ? 1.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = 127.0f / most;
  for (int64_t d = 0; d < dim; ++d) {
    const float shifted = row[d] * inverse + 0x1.8p23f;  // the sum's lowest bits are the rounded number
    int32_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    values[d] = static_cast<int8_t>(bits);
  }
  return inverse;
}

// Centroids as the tiles of Simd::byte_nearest: unsigned, each row padded to a multiple of four dimensions.
struct ByteCentroids {
  ByteCentroids(const int8_t* centroids, const float* scales, int64_t count, int64_t dim)
      : stride((dim + 3) / 4 * 4), tiles(count * stride), half_norms(count) {
    for (int64_t c = 0; c < count; ++c) {
      int64_t squares = 0;
      uint8_t* tile = tiles.get() + c * stride;
      for (int64_t d = 0; d < stride; ++d) {
        const int value = d < dim ? centroids[c * dim + d] : 0;
        tile[d] = static_cast<uint8_t>(value + 128);
        squares += value * value;
      }
      const double scale = scales[c];
      half_norms.get()[c] = static_cast<float>(scale * scale * static_cast<double>(squares) / 2);
    }
  }

  const int64_t stride;
  Buffer<uint8_t> tiles;
  Buffer<float> half_norms;
};

// One worker's share of rounded vectors, packed for Simd::byte_nearest, and what it has found for them.
class ByteVectors {
 public:
  ByteVectors(const Simd& isa, int64_t capacity, int64_t dim)
      : isa_(isa), dim_(dim), panel_bytes_((isa.byte_panel_size(dim) + 63) / 64 * 64), rows_(kBlock * dim),
        panels_(capacity / kBlock * panel_bytes_), start_(capacity), inverses_(capacity), best_(capacity),
        code_(capacity) {}

  void pack(const float* vectors, int64_t count) {
    count_ = (count + kBlock - 1) / kBlock * kBlock;
    for (int64_t first = 0; first < count_; first += kBlock) {
      std::memset(rows_.get(), 0, static_cast<size_t>(kBlock * dim_));
      for (int64_t row = first; row < first + kBlock; ++row) {
        int8_t* values = rows_.get() + (row - first) * dim_;
        inverses_.get()[row] = row < count ? round_row(vectors + row * dim_, dim_, values) : 1.0f;
        int32_t total = 0;
        for (int64_t d = 0; d < dim_; ++d) total += values[d];
        start_.get()[row] = -128 * total;  // centroids are stored 128 too high
      }
      isa_.pack_bytes(rows_.get(), dim_, panels_.get() + first / kBlock * panel_bytes_);
    }
    std::fill_n(best_.get(), count_, std::numeric_limits<float>::infinity());
    std::fill_n(code_.get(), count_, 0.0f);
  }

  void compare(const ByteCentroids& centroids, const float* scales, int64_t first, int64_t count) {
    for (int64_t row = 0; row < count_; row += kBlock)
      isa_.byte_nearest(panels_.get() + row / kBlock * panel_bytes_, start_.get() + row,
                        centroids.tiles.get() + first * centroids.stride, centroids.stride, count, dim_,
                        centroids.half_norms.get() + first, scales + first, inverses_.get() + row,
                        static_cast<uint32_t>(first), best_.get() + row, code_.get() + row);
  }

  uint32_t code(int64_t row) const {
    uint32_t bits;
    std::memcpy(&bits, code_.get() + row, sizeof(bits));
    return bits;
  }

 private:
  static constexpr int64_t kBlock = 32;  // rows of a panel
  const Simd& isa_;
  const int64_t dim_, panel_bytes_;
  int64_t count_ = 0;
  Buffer<int8_t> rows_;
  Buffer<uint8_t> panels_;
  Buffer<int32_t> start_;
  Buffer<float> inverses_, best_, code_;
};

float squared_distance(const float* vector, const int8_t* centroid, float scale, int64_t dim) {
  constexpr int kChains = 8;
  float totals[kChains] = {};
  for (int64_t begin = 0; begin < dim; begin += kChains) {
    const int count = static_cast<int>(std::min<int64_t>(kChains, dim - begin));
    for (int i = 0; i < count; ++i) {
      const float difference = vector[begin + i] - scale * static_cast<float>(centroid[begin + i]);
      totals[i] += difference * difference;
    }
  }
  return static_cast<float>(sum(totals, kChains));
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
    const Product product(isa, dim);
    Panels panels(product, kVectors);
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

void assign_rounded(const Rows& vectors, const int8_t* centroids, const float* scales, int64_t num_centroids,
                    uint16_t* codes, float* distances, Run run) {
  const Simd& isa = simd(run.isa);
  const int64_t dim = vectors.dim, tile = std::max<int64_t>(24, 8192 / dim / 24 * 24);  // 8 KB: a quarter of a cache
  const ByteCentroids tiles(centroids, scales, num_centroids, dim);
  share((vectors.count + kVectors - 1) / kVectors, run.threads, [&](Units& units) {
    Buffer<float> rows(kVectors * dim);
    ByteVectors packed(isa, kVectors, dim);
    for (int64_t unit; units.take(unit);) {
      const int64_t first = unit * kVectors, last = std::min(vectors.count, first + kVectors);
      copy_rows(isa, vectors, first, last, rows.get());
      packed.pack(rows.get(), last - first);
      for (int64_t c = 0; c < num_centroids; c += tile)
        packed.compare(tiles, scales, c, std::min(tile, num_centroids - c));
      for (int64_t t = first; t < last; ++t) {
        const uint32_t code = packed.code(t - first);
        codes[t] = static_cast<uint16_t>(code);
        distances[t] = squared_distance(rows.get() + (t - first) * dim, centroids + code * dim, scales[code], dim);
      }
    }
  });
}

}  // namespace flmr
