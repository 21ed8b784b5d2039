// avx512vnni with products of pairs of bfloat16 numbers: Zen 4, Sapphire Rapids and later.

#include "avx512.h"
#include "simd.h"

namespace {

#include "dots.h"

struct Pairs {
  static inline Vec add(Vec rows, Vec cell, Vec sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(rows), reinterpret_cast<__m512bh>(cell));
  }
};

static void round_dots(const float* panel, int vectors, const float* tile, int64_t tokens, int64_t cells, float* out) {
  dots_of<Pairs>(panel, vectors, tile, tokens, cells, out);
}

// Sixteen values from values + d, zeros from `dim` on.
static inline Vec sixteen(const void* values, bool half, int64_t d, int64_t dim) {
  const int64_t left = dim - d;
  const __mmask16 there = left >= 16 ? 0xFFFF : left > 0 ? static_cast<__mmask16>((1u << left) - 1) : 0;
  if (half) return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, static_cast<const uint16_t*>(values) + d));
  return _mm512_maskz_loadu_ps(there, static_cast<const float*>(values) + d);
}

template <bool half>
static void round_values(const void* values, int64_t dim, float* cells) {
  for (int64_t d = 0; d < dim; d += 32) {
    const __m512bh pairs = _mm512_cvtne2ps_pbh(sixteen(values, half, d + 16, dim), sixteen(values, half, d, dim));
    const int64_t left = (dim - d + 1) / 2;
    const __mmask16 there = left >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1);
    _mm512_mask_storeu_ps(cells + d / 2, there, reinterpret_cast<__m512>(pairs));
  }
}

static void round_rows(const void* values, bool half, int64_t rows, int64_t dim, float* cells) {
  if (dim % 2 == 0) dim *= rows, rows = 1;  // no row needs a zero beside its last value
  for (int64_t r = 0; r < rows; ++r) {
    if (half)
      round_values<true>(static_cast<const uint16_t*>(values) + r * dim, dim, cells + r * ((dim + 1) / 2));
    else
      round_values<false>(static_cast<const float*>(values) + r * dim, dim, cells + r * ((dim + 1) / 2));
  }
}

}  // namespace

namespace flmr {

void simd_avx512bf16(Simd& table) {
  table.name = "avx512bf16";
  table.values_in_cell = 2;
  table.round_rows = round_rows;
  table.round_dots = round_dots;
}

}  // namespace flmr
