// What avx512.cpp, avx512vnni.cpp and avx512bf16.cpp share: sixteen floats at a time.

#include <immintrin.h>

#include <cstdint>

namespace {

using Vec = __m512;
constexpr int kLanes = 16;
constexpr int kPanelVectors = 4;

static inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
static inline Vec broadcast(float x) { return _mm512_set1_ps(x); }
static inline Vec broadcast_bits(uint32_t bits) { return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(bits))); }
static inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline __mmask16 less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline Vec select(__mmask16 mask, Vec a, Vec b) { return _mm512_mask_blend_ps(mask, b, a); }
static inline Vec widen_lanes(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
static inline bool any_at_least(Vec v, float threshold) {
  return _mm512_cmp_ps_mask(v, broadcast(threshold), _CMP_GE_OQ) != 0;
}

using Ints = __m512i;
static inline Ints load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
static inline void store_ints(int32_t* p, Ints v) { _mm512_storeu_si512(p, v); }
static inline Vec to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }

using Bytes = __m128i;
constexpr int kSums = 24;
static inline Bytes load_bytes(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
static inline Bytes load_half(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
static inline void store_bytes(uint8_t* p, Bytes v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
static inline Bytes add_bytes(Bytes a, Bytes b) { return _mm_adds_epu8(a, b); }
static inline Bytes most_bytes(Bytes a, Bytes b) { return _mm_max_epu8(a, b); }

}  // namespace
