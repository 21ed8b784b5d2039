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
static inline void level_row(const uint8_t* packed, int64_t dim, const uint8_t* table, const uint8_t*, uint8_t* out) {
  alignas(64) static constexpr struct Where {
    uint8_t from[64], shift[64];
    constexpr Where() : from(), shift() {
      for (int i = 0; i < 64; ++i) {
        from[i] = static_cast<uint8_t>(i / 8 * nbits + i % 8);
        shift[i] = static_cast<uint8_t>((i % 8 + 1) * nbits + 2);
      }
    }
  } kWhere;
  const __m512i from = _mm512_load_si512(kWhere.from), shift = _mm512_load_si512(kWhere.shift);
  const __m512i levels = _mm512_loadu_si512(table);
  const int64_t bytes = (dim * nbits + 7) / 8;
  for (int64_t d = 0; d < dim; d += 64) {
    const int64_t begin = d / 8 * nbits;
    const int64_t left = bytes - begin < 8 * nbits ? bytes - begin : 8 * nbits;
    // The byte before the first is not there: it counts as zero and is not read.
    const __mmask64 readable = ((uint64_t{2} << left) - 1) & ~static_cast<uint64_t>(d == 0);
    const __m512i stream = _mm512_maskz_loadu_epi8(readable, packed + begin - 1);
    const __m512i windows = _mm512_multishift_epi64_epi8(shift, _mm512_permutexvar_epi8(from, stream));
    const __m512i found = _mm512_permutexvar_epi8(windows, levels);
    const int64_t rest = dim - d;
    _mm512_mask_storeu_epi8(out + d, rest >= 64 ? ~uint64_t{0} : (uint64_t{1} << rest) - 1, found);
  }
}

}  // namespace

#include "body.h"

namespace flmr {
const Simd* simd_avx512vnni() { return &kTable; }
}  // namespace flmr
