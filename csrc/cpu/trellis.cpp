// Residuals to a path through a trellis (1 to 4 bits a dimension) or to whole numbers (8 bits), and back.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

constexpr int kWindow = 6;  // bits of the stream that choose a level
constexpr int64_t kGroups = 8;  // groups of kPaths vectors that one thread takes at a time

// The scales that a code may name.
class Scales {
 public:
  explicit Scales(const float* table) : table_(table) {
    for (int c = 0; c < 255; ++c)
      middles_[c] = static_cast<float>((static_cast<double>(table[c]) + static_cast<double>(table[c + 1])) / 2);
  }
  uint8_t nearest(float scale) const {
    return static_cast<uint8_t>(std::lower_bound(middles_, middles_ + 255, scale) - middles_);
  }
  uint8_t at_least(float scale) const {
    return static_cast<uint8_t>(std::lower_bound(table_, table_ + 256, scale) - table_);
  }
  float operator[](uint8_t code) const { return table_[code]; }

  void check(float scale, int64_t vector) const {
    if (!(scale <= table_[255]))
      throw Refused("residual " + std::to_string(vector) + " is not finite or beyond the largest scale");
  }

 private:
  const float* table_;
  float middles_[255];
};

// The nearest whole number, halves upwards, no further than 127 from zero.
inline int whole(float value) {
  const float bounded = std::min(std::max(value, -127.0f), 127.0f);
  return static_cast<int>(bounded + 128.5f) - 128;
}

// Up to kPaths residuals and the buffers that they pass through, one lane a residual.
class Group {
 public:
  Group(const Simd& isa, int64_t dim, const int8_t* levels, int spread, int nbits, const Scales& scales)
      : isa_(isa), dim_(dim), levels_(levels), spread_(spread), nbits_(nbits), scales_(scales),
        residuals_(dim * kPaths), values_(dim * kPaths), choices_(dim * kPaths * (64 >> nbits)),
        windows_(dim * kPaths), packed_((dim + 7) / 8 * nbits * kPaths) {
    std::fill_n(residuals_.get(), dim * kPaths, 0.0f);  // lanes that never get a residual
  }

  void quantize(const float* residuals, int64_t first, int64_t count, uint8_t* packed, uint8_t* scales) {
    float factors[kPaths] = {}, fitted[kPaths];
    for (int p = 0; p < kPaths; ++p) factors[p] = p < count ? take(residuals + (first + p) * dim_, p, first + p) : 0;
    isa_.seek({residuals_.get(), factors, values_.get(), choices_.get(), windows_.get(), packed_.get(), fitted}, dim_,
              levels_, nbits_);
    const int64_t bytes = (dim_ * nbits_ + 7) / 8;
    for (int64_t p = 0; p < count; ++p) {
      scales[first + p] = scales_.nearest(fitted[p]);
      uint8_t* out = packed + (first + p) * bytes;
      for (int64_t b = 0; b < bytes; ++b) out[b] = scales[first + p] ? packed_.get()[b * kPaths + p] : 0;
    }
  }

 private:
  // Puts one residual into its lane.  Returns the factor that makes it as wide as the levels, whose scale a code names.
  float take(const float* residual, int p, int64_t vector) {
    double square[4] = {};
    for (int64_t d = 0; d < dim_; ++d) {
      const double value = residual[d];
      square[d % 4] += value * value;
      residuals_.get()[d * kPaths + p] = residual[d];
    }
    const double mean = ((square[0] + square[1]) + (square[2] + square[3])) / static_cast<double>(dim_);
    const float scale = static_cast<float>(std::sqrt(mean) / spread_);
    scales_.check(scale, vector);
    const uint8_t code = scales_.nearest(scale);
    return code ? 1.0f / scales_[code] : 0.0f;
  }

  const Simd& isa_;
  const int64_t dim_;
  const int8_t* levels_;
  const int spread_, nbits_;
  const Scales& scales_;
  Buffer<float> residuals_;
  Buffer<int16_t> values_;
  Buffer<uint8_t> choices_, windows_, packed_;
};

// Eight bits: whole numbers from -127 to 127, stored 128 higher, at the least scale that holds the largest value.
void quantize_whole(const float* residual, int64_t vector, int64_t dim, const Scales& scales, uint8_t* packed,
                    uint8_t* scale) {
  float most = 0;
  bool finite = true;
  for (int64_t d = 0; d < dim; ++d) {
    most = std::max(most, std::fabs(residual[d]));
    finite &= std::isfinite(residual[d]);
  }
  const float wanted = most / 127.0f;
  scales.check(finite ? wanted : std::numeric_limits<float>::infinity(), vector);
  *scale = scales.at_least(wanted);
  const float factor = *scale ? 1.0f / scales[*scale] : 0.0f;
  for (int64_t d = 0; d < dim; ++d) packed[d] = static_cast<uint8_t>(whole(residual[d] * factor) + 128);
}

void unpack_row(const uint8_t* packed, int64_t dim, int nbits, const int8_t* levels, int8_t* out) {
  if (nbits == 8) {
    for (int64_t d = 0; d < dim; ++d) out[d] = levels[packed[d]];
    return;
  }
  uint32_t word = 0, window = 0;
  int held = 0;
  for (int64_t d = 0; d < dim; ++d, word >>= nbits, held -= nbits) {
    if (held < nbits) {
      word |= static_cast<uint32_t>(*packed++) << held;
      held += 8;
    }
    window = window >> nbits | (word & ((1u << nbits) - 1)) << (kWindow - nbits);
    out[d] = levels[window];
  }
}

}  // namespace

void trellis_quantize(const float* residuals, int64_t count, int64_t dim, const int8_t* levels, int spread, int nbits,
                      const float* scale_table, uint8_t* packed, uint8_t* scales, Run run) {
  const Simd& isa = simd(run.isa);
  const Scales known(scale_table);
  constexpr int64_t step = kGroups * kPaths;
  share((count + step - 1) / step, run.threads, [&](Units& units) {
    if (nbits == 8) {
      for (int64_t unit; units.take(unit);)
        for (int64_t t = unit * step; t < std::min(count, (unit + 1) * step); ++t)
          quantize_whole(residuals + t * dim, t, dim, known, packed + t * dim, scales + t);
      return;
    }
    Group group(isa, dim, levels, spread, nbits, known);
    for (int64_t unit; units.take(unit);)
      for (int64_t t = unit * step; t < std::min(count, (unit + 1) * step); t += kPaths)
        group.quantize(residuals, t, std::min<int64_t>(kPaths, count - t), packed, scales);
  });
}

void trellis_unpack(const uint8_t* packed, int64_t count, int64_t dim, int nbits, const int8_t* levels, int8_t* out) {
  const int64_t bytes = (dim * nbits + 7) / 8;
  for (int64_t t = 0; t < count; ++t) unpack_row(packed + t * bytes, dim, nbits, levels, out + t * dim);
}

void trellis_dequantize(const uint8_t* packed, const uint8_t* scales, int64_t count, int64_t dim, int nbits,
                        const int8_t* levels, const float* scale_table, float* residuals, Run run) {
  const int64_t bytes = (dim * nbits + 7) / 8;
  constexpr int64_t step = kGroups * kPaths;
  share((count + step - 1) / step, run.threads, [&](Units& units) {
    Buffer<int8_t> row(dim);
    for (int64_t unit; units.take(unit);)
      for (int64_t t = unit * step; t < std::min(count, (unit + 1) * step); ++t) {
        unpack_row(packed + t * bytes, dim, nbits, levels, row.get());
        const float scale = scale_table[scales[t]];
        for (int64_t d = 0; d < dim; ++d) residuals[t * dim + d] = scale * static_cast<float>(row.get()[d]);
      }
  });
}

}  // namespace flmr
