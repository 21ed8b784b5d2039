// AVX-512 with byte products (VNNI) and byte permutations (VBMI): Ice Lake, Zen 4 and later.

#include "avx512.h"

namespace {

constexpr const char* kName = "avx512vnni";

using Cell = int8_t;
constexpr int kGroup = 4;
static inline Ints group_at(const uint8_t* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}
static inline Ints dot_group(Ints sum, const Cell* cells, Ints token) {
  return _mm512_dpbusd_epi32(sum, token, _mm512_loadu_si512(cells));
}

// 64 dimensions at a time.  Lane i of eight gets the bytes of its eight dimensions and the byte before them; each byte
// of the lane then takes the bits from where its window starts, and a permutation by the lowest six bits finds the level.
template <int nbits>
struct Windows {
  alignas(64) uint8_t first[64], from[64], shift[64];
  constexpr Windows() : first(), from(), shift() {
    for (int i = 0; i < 64; ++i) {
      from[i] = static_cast<uint8_t>(i / 8 * nbits + i % 8);
      first[i] = static_cast<uint8_t>(i ? from[i] - 1 : 0);
      shift[i] = static_cast<uint8_t>((i % 8 + 1) * nbits + 2);
    }
  }
};

// 128 + level of dimensions d .. d + 63 of a packed row; beyond the last they are the levels of zeros.
template <int nbits>
static inline __m512i levels_at(const uint8_t* packed, int64_t dim, int64_t d, __m512i levels) {
  static constexpr Windows<nbits> kWindows;
  const int64_t begin = d / 8 * nbits, left = (dim * nbits + 7) / 8 - begin, whole = left < 8 * nbits ? left : 8 * nbits;
  __m512i stream;
  if (d == 0) {  // no byte before the first: zeros, and nothing outside the row is touched
    stream = _mm512_maskz_loadu_epi8((uint64_t{1} << whole) - 1, packed);
    stream = _mm512_maskz_permutexvar_epi8(~uint64_t{1}, _mm512_load_si512(kWindows.first), stream);
  } else {
    stream = _mm512_maskz_loadu_epi8((uint64_t{2} << whole) - 1, packed + begin - 1);
    stream = _mm512_permutexvar_epi8(_mm512_load_si512(kWindows.from), stream);
  }
  return _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(_mm512_load_si512(kWindows.shift), stream), levels);
}

static inline uint64_t first_bytes(int64_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

template <>
inline __m512i levels_at<8>(const uint8_t* packed, int64_t dim, int64_t d, __m512i) {
  return _mm512_maskz_loadu_epi8(first_bytes(dim - d), packed + d);
}

template <int nbits>
static inline void level_row(const uint8_t* packed, int64_t dim, const uint8_t* table, const uint8_t*, uint8_t* out) {
  const __m512i levels = _mm512_loadu_si512(table);
  for (int64_t d = 0; d < dim; d += 64)
    _mm512_mask_storeu_epi8(out + d, first_bytes(dim - d), levels_at<nbits>(packed, dim, d, levels));
}

// Two tokens of a query block of eight rows side by side: see few.h.
struct Side {
  static constexpr bool pairs = true;

  static inline Ints at(const uint8_t* p) {
    int64_t word;
    __builtin_memcpy(&word, p, 8);
    return _mm512_set1_epi64(word);
  }

  // Of each 16 dimensions: the first two groups of four of both tokens in one vector, the last two in the next.
  template <int nbits>
  static inline void levels(const uint8_t* first, const uint8_t* second, int64_t dim, const uint8_t* table,
                                 uint8_t* out) {
    const __m512i known = nbits == 8 ? _mm512_setzero_si512() : _mm512_loadu_si512(table);
    for (int64_t d = 0; d < dim; d += 64) {
      const __m512i a = levels_at<nbits>(first, dim, d, known), b = levels_at<nbits>(second, dim, d, known);
      _mm512_storeu_si512(out + 2 * d, _mm512_unpacklo_epi32(a, b));
      _mm512_storeu_si512(out + 2 * d + 64, _mm512_unpackhi_epi32(a, b));
    }
  }

  static inline Vec both_tokens(const float* scales) {
    double pair;
    __builtin_memcpy(&pair, scales, 8);
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
  }

  static inline void best_of(const int32_t* dots, const float* steps, const float* scales, const float* table,
                               const uint16_t* codes, int64_t count, float* best) {
    const __m512i mix = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const auto mixed = [&](const float* a, const float* b) {
      return _mm512_permutex2var_ps(_mm512_castps256_ps512(_mm256_loadu_ps(a)), mix, _mm512_castps256_ps512(_mm256_loadu_ps(b)));
    };
    const Vec step = mixed(steps, steps);
    Vec most = mixed(best, best);
    const auto look = [&](int64_t i, const float* pair, int64_t second) {
      const Vec base = mixed(table + codes[i] * 8, table + codes[second] * 8);
      const Vec residual = mul(to_floats(load_ints(dots + i * 8)), mul(step, both_tokens(pair)));
      most = max(add(base, residual), most);
    };
    int64_t i = 0;
    for (; i + 2 <= count; i += 2) look(i, scales + i, i + 1);
    if (i < count) {
      const float twice[2] = {scales[i], scales[i]};
      look(i, twice, i);
    }
    most = max(most, _mm512_permute_ps(most, 0xB1));
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm256_storeu_ps(best, _mm512_castps512_ps256(_mm512_permutexvar_ps(even, most)));
  }

  static inline void scores_of(const int32_t* dots, const float* steps, const float* scales, int64_t count, float* out) {
    const __m512i apart = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    const Vec step = _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(steps))));
    for (int64_t i = 0; i < count; i += 2) {
      const float twice[2] = {scales[i], i + 1 < count ? scales[i + 1] : 0.0f};
      const Vec value = to_floats(load_ints(dots + i * 8));
      const Vec factor = mul(step, _mm512_permutexvar_ps(apart, both_tokens(twice)));
      const __mmask16 there = i + 1 < count ? 0xFFFF : 0xFF;
      _mm512_mask_storeu_ps(out + i * 8, there, mul(_mm512_permutexvar_ps(apart, value), factor));
    }
  }
};

}  // namespace

#include "body.h"

namespace flmr {
const Simd* simd_avx512vnni() { return &kTable; }
}  // namespace flmr
