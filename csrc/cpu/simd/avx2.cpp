// Eight floats at a time: AVX2, FMA and F16C.

#include <immintrin.h>

#include <cstdint>

namespace {

using Vec = __m256;
constexpr int kLanes = 8;
constexpr int kPanelVectors = 2;
constexpr const char* kName = "avx2";

static inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
static inline Vec broadcast(float x) { return _mm256_set1_ps(x); }
static inline Vec broadcast_bits(uint32_t bits) { return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(bits))); }
static inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline Vec less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline Vec select(Vec mask, Vec a, Vec b) { return _mm256_blendv_ps(b, a, mask); }
static inline Vec widen_lanes(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline bool any_at_least(Vec v, float threshold) {
  return _mm256_movemask_ps(_mm256_cmp_ps(v, broadcast(threshold), _CMP_GE_OQ)) != 0;
}

using Ints = __m256i;
static inline Ints load_ints(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
static inline void store_ints(int32_t* p, Ints v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
static inline Vec to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }

// Bytes are multiplied as pairs of 16-bit numbers: products of bytes would be added with saturation.
using Cell = int16_t;
constexpr int kGroup = 2;
constexpr int kSums = 12;
static inline Ints group_at(const uint8_t* p) { return _mm256_set1_epi32(p[0] | p[1] << 16); }
static inline Ints dot_group(Ints sum, const Cell* cells, Ints token) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(cells)), token));
}

using Bytes = __m128i;
static inline Bytes load_bytes(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
static inline Bytes load_half(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
static inline void store_bytes(uint8_t* p, Bytes v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
static inline Bytes add_bytes(Bytes a, Bytes b) { return _mm_adds_epu8(a, b); }
static inline Bytes most_bytes(Bytes a, Bytes b) { return _mm_max_epu8(a, b); }

template <int nbits>
static inline void level_row_by_table(const uint8_t*, int64_t, const uint8_t*, uint8_t*);
template <int nbits>
static inline void level_row(const uint8_t* packed, int64_t dim, const uint8_t*, const uint8_t* wide, uint8_t* out) {
  level_row_by_table<nbits>(packed, dim, wide, out);
}

struct Side {
  static constexpr bool pairs = false;
};

}  // namespace

#include "body.h"

namespace flmr {
const Simd* simd_avx2() { return &kTable; }
}  // namespace flmr
