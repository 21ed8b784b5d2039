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
static inline uint32x4_t less(Vec a, Vec b) { return vcltq_f32(a, b); }
static inline Vec select(uint32x4_t mask, Vec a, Vec b) { return vbslq_f32(mask, a, b); }
static inline Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }  // vmaxq would let a NaN through
static inline Vec widen_lanes(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline bool any_at_least(Vec v, float threshold) { return vmaxvq_u32(vcgeq_f32(v, broadcast(threshold))) != 0; }

using Ints = int32x4_t;
static inline Ints load_ints(const int32_t* p) { return vld1q_s32(p); }
static inline void store_ints(int32_t* p, Ints v) { vst1q_s32(p, v); }
static inline Vec to_floats(Ints v) { return vcvtq_f32_s32(v); }

using Cell = int16_t;
constexpr int kGroup = 1;
constexpr int kSums = 24;
static inline int16_t group_at(const uint8_t* p) { return *p; }
static inline Ints dot_group(Ints sum, const Cell* cells, int16_t token) { return vmlal_n_s16(sum, vld1_s16(cells), token); }

using Bytes = uint8x16_t;
static inline Bytes load_bytes(const uint8_t* p) { return vld1q_u8(p); }
static inline Bytes load_half(const uint8_t* p) { return vcombine_u8(vld1_u8(p), vdup_n_u8(0)); }
static inline void store_bytes(uint8_t* p, Bytes v) { vst1q_u8(p, v); }
static inline Bytes add_bytes(Bytes a, Bytes b) { return vqaddq_u8(a, b); }
static inline Bytes most_bytes(Bytes a, Bytes b) { return vmaxq_u8(a, b); }

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
const Simd* simd_neon() { return &kTable; }
}  // namespace flmr
