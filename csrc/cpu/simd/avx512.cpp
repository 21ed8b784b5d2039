// Sixteen floats at a time: AVX-512 F, BW, VL and DQ.

#include "avx512.h"

namespace {

constexpr const char* kName = "avx512";

// Bytes are multiplied as pairs of 16-bit numbers.
using Cell = int16_t;
constexpr int kGroup = 2;
static inline Ints group_at(const uint8_t* p) { return _mm512_set1_epi32(p[0] | p[1] << 16); }
static inline Ints dot_group(Ints sum, const Cell* cells, Ints token) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_loadu_si512(cells), token));
}

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
const Simd* simd_avx512() { return &kTable; }
}  // namespace flmr
