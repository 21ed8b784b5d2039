// Four floats at a time: NEON, which every 64-bit Arm processor has.

#include <arm_neon.h>

#include <cstdint>

#include "../half.h"

namespace {

using Vec = float32x4_t;
constexpr int kLanes = 4;
constexpr int kPanelVectors = 4;
constexpr const char* kName = "neon";

static inline Vec load(const float* p) { return vld1q_f32(p); }
static inline void store(float* p, Vec v) { vst1q_f32(p, v); }
static inline Vec broadcast(float x) { return vdupq_n_f32(x); }
static inline Vec broadcast_bits(uint32_t bits) { return vreinterpretq_f32_u32(vdupq_n_u32(bits)); }
static inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
static inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
static inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
static inline float fma_one(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline uint32x4_t less(Vec a, Vec b) { return vcltq_f32(a, b); }
static inline Vec select(uint32x4_t mask, Vec a, Vec b) { return vbslq_f32(mask, a, b); }
static inline Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }  // vmaxq would let a NaN through
static inline Vec widen_lanes(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline bool any_at_least(Vec v, float threshold) { return vmaxvq_u32(vcgeq_f32(v, broadcast(threshold))) != 0; }

// Eight dimensions are nbits bytes; d is a multiple of four, so it is the first or the second half of them.
template <int nbits>
static inline Vec levels_at(const uint8_t* packed, int64_t d, const float* table) {
  float levels[4];
  if constexpr (nbits == 8) {
    for (int i = 0; i < 4; ++i) levels[i] = table[packed[d + i]];
  } else {
    const int64_t first = d / 8 * nbits, bit = (d % 8) * nbits;
    uint32_t word = 0;
    // The last four dimensions of a row may end before the group of eight does.
    __builtin_memcpy(&word, packed + first, d % 8 ? nbits : (4 * nbits + 7) / 8);
    for (int i = 0; i < 4; ++i) levels[i] = table[(word >> (bit + i * nbits)) & ((1u << nbits) - 1)];
  }
  return load(levels);
}

using Ints = int32x4_t;
static inline Ints load_ints(const int32_t* p) { return vld1q_s32(p); }
static inline void store_ints(int32_t* p, Ints v) { vst1q_s32(p, v); }
static inline Vec to_floats(Ints v) { return vcvtq_f32_s32(v); }

using Cell = int16_t;
constexpr int kGroup = 1;
constexpr int kByteSums = 24;
static inline int16_t group_at(const uint8_t* p) { return *p; }
static inline Ints dot_group(Ints sum, const Cell* cells, int16_t token) { return vmlal_n_s16(sum, vld1_s16(cells), token); }

using Bytes = uint8x16x2_t;
static inline Bytes load_bytes(const uint8_t* p) { return {{vld1q_u8(p), vld1q_u8(p + 16)}}; }
static inline void store_bytes(uint8_t* p, Bytes v) {
  vst1q_u8(p, v.val[0]);
  vst1q_u8(p + 16, v.val[1]);
}
static inline Bytes fill_bytes(uint8_t x) { return {{vdupq_n_u8(x), vdupq_n_u8(x)}}; }
static inline Bytes add_bytes(Bytes v, uint8_t x) {
  return {{vqaddq_u8(v.val[0], vdupq_n_u8(x)), vqaddq_u8(v.val[1], vdupq_n_u8(x))}};
}
static inline Bytes most_bytes(Bytes a, Bytes b) {
  return {{vmaxq_u8(a.val[0], b.val[0]), vmaxq_u8(a.val[1], b.val[1])}};
}
static inline uint32_t at_least_mask(Bytes a, Bytes b) {
  const uint8x16_t bits = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  uint32_t mask = 0;
  for (int half = 0; half < 2; ++half) {
    const uint8x16_t set = vandq_u8(vcgeq_u8(a.val[half], b.val[half]), bits);
    mask |= static_cast<uint32_t>(vaddv_u8(vget_low_u8(set)) | vaddv_u8(vget_high_u8(set)) << 8) << (16 * half);
  }
  return mask;
}

template <int nbits>
static inline void level_row_by_table(const uint8_t*, int64_t, const uint8_t*, uint8_t*);
template <int nbits>
static inline void level_row(const uint8_t* packed, int64_t dim, const uint8_t*, const uint8_t* wide, uint8_t* out) {
  level_row_by_table<nbits>(packed, dim, wide, out);
}

}  // namespace

#include "body.h"

namespace flmr {
const Simd* simd_neon() { return &kTable; }
}  // namespace flmr
