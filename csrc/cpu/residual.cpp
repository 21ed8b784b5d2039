// Residuals to a few bits a dimension and back.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../kernels.h"
#include "half.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

constexpr int64_t kRows = 256;  // rows that one thread takes at a time

void pack_row(const uint8_t* levels, int64_t dim, int nbits, uint8_t* packed) {
  uint32_t word = 0;
  int held = 0;
  for (int64_t d = 0; d < dim; ++d) {
    word |= static_cast<uint32_t>(levels[d]) << held;
    for (held += nbits; held >= 8; held -= 8, word >>= 8) *packed++ = static_cast<uint8_t>(word);
  }
  if (held) *packed = static_cast<uint8_t>(word);
}

// Levels of one residual, and the scale that makes them fit it best; NaN where the residual is not finite.
float quantize_row(const Simd& isa, const float* residual, int64_t dim, const float* levels, const float* boundaries,
                   int count, uint8_t* numbers) {
  double square = 0;
  for (int64_t d = 0; d < dim; ++d) square += static_cast<double>(residual[d]) * residual[d];
  const double rms = std::sqrt(square / static_cast<double>(dim));
  isa.bucket(residual, rms > 0 ? static_cast<float>(1 / rms) : 0.0f, dim, boundaries, count, numbers);
  double along = 0, length = 0;
  for (int64_t d = 0; d < dim; ++d) {
    const double level = levels[numbers[d]];
    along += residual[d] * level;
    length += level * level;
  }
  return static_cast<float>(length > 0 ? along / length : along);
}

}  // namespace

void pack(const uint8_t* levels, int64_t count, int64_t dim, int nbits, uint8_t* packed) {
  const int64_t bytes = (dim * nbits + 7) / 8;
  for (int64_t i = 0; i < count * dim; ++i)
    if (levels[i] >> nbits)
      throw Refused("level number " + std::to_string(levels[i]) + " is not below 2**" + std::to_string(nbits));
  for (int64_t t = 0; t < count; ++t) pack_row(levels + t * dim, dim, nbits, packed + t * bytes);
}

void unpack(const uint8_t* packed, int64_t count, int64_t dim, int nbits, uint8_t* levels) {
  const int64_t bytes = (dim * nbits + 7) / 8;
  for (int64_t t = 0; t < count; ++t) {
    const uint8_t* next = packed + t * bytes;
    uint32_t word = 0;
    int held = 0;
    for (int64_t d = 0; d < dim; ++d, word >>= nbits, held -= nbits) {
      if (held < nbits) {
        word |= static_cast<uint32_t>(*next++) << held;
        held += 8;
      }
      levels[t * dim + d] = static_cast<uint8_t>(word & ((1u << nbits) - 1));
    }
  }
}

void quantize(const float* residuals, int64_t count, int64_t dim, const float* levels, int nbits, uint8_t* packed,
              uint16_t* scales, Run run) {
  const Simd& isa = simd(run.isa);
  const int64_t bytes = (dim * nbits + 7) / 8;
  const int num_boundaries = (1 << nbits) - 1;
  float boundaries[255];
  for (int b = 0; b < num_boundaries; ++b)
    boundaries[b] = static_cast<float>((static_cast<double>(levels[b]) + levels[b + 1]) / 2);
  share((count + kRows - 1) / kRows, run.threads, [&](Units& units) {
    Buffer<uint8_t> numbers(dim);
    for (int64_t unit; units.take(unit);)
      for (int64_t t = unit * kRows; t < std::min(count, (unit + 1) * kRows); ++t) {
        const float scale =
            quantize_row(isa, residuals + t * dim, dim, levels, boundaries, num_boundaries, numbers.get());
        if (!(std::fabs(scale) <= 65504.0f))
          throw Refused("residual " + std::to_string(t) + " is not finite or its scale is beyond float16");
        pack_row(numbers.get(), dim, nbits, packed + t * bytes);
        scales[t] = float_to_half(scale);
      }
  });
}

void dequantize(const uint8_t* packed, const uint16_t* scales, int64_t count, int64_t dim, const float* levels,
                int nbits, float* residuals, Run run) {
  const Simd& isa = simd(run.isa);
  const int64_t bytes = (dim * nbits + 7) / 8;
  float table[256];
  for (int i = 0; i < 256; ++i) table[i] = levels[i & ((1 << nbits) - 1)];
  share((count + kRows - 1) / kRows, run.threads, [&](Units& units) {
    for (int64_t unit; units.take(unit);) {
      const int64_t first = unit * kRows, last = std::min(count, first + kRows);
      isa.unpack(packed + first * bytes, scales + first, nullptr, nullptr, last - first, dim, nbits, table,
                 residuals + first * dim);
    }
  });
}

}  // namespace flmr
