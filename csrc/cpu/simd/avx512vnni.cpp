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

template <int nbits>
static inline void level_row(const uint8_t* packed, int64_t dim, const uint8_t* table, const uint8_t*, uint8_t* out) {
  static constexpr Windows<nbits> kWindows;
  const __m512i shift = _mm512_load_si512(kWindows.shift), levels = _mm512_loadu_si512(table);
  const int64_t bytes = (dim * nbits + 7) / 8;
  for (int64_t d = 0; d < dim; d += 64) {
    const int64_t begin = d / 8 * nbits, whole = bytes - begin < 8 * nbits ? bytes - begin : 8 * nbits;
    __m512i stream;
    if (d == 0) {  // no byte before the first: zeros, and nothing outside the row is touched
      stream = _mm512_maskz_loadu_epi8((uint64_t{1} << whole) - 1, packed);
      stream = _mm512_maskz_permutexvar_epi8(~uint64_t{1}, _mm512_load_si512(kWindows.first), stream);
    } else {
      stream = _mm512_maskz_loadu_epi8((uint64_t{2} << whole) - 1, packed + begin - 1);
      stream = _mm512_permutexvar_epi8(_mm512_load_si512(kWindows.from), stream);
    }
    const __m512i found = _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(shift, stream), levels);
    const int64_t rest = dim - d;
    if (rest >= 64)
      _mm512_storeu_si512(out + d, found);
    else
      _mm512_mask_storeu_epi8(out + d, (uint64_t{1} << rest) - 1, found);
  }
}

}  // namespace

#include "body.h"

namespace flmr {
const Simd* simd_avx512vnni() { return &kTable; }
}  // namespace flmr
