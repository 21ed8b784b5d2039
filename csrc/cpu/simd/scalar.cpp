// One float at a time: any processor.

#include <cstdint>

#include "../half.h"

namespace {

using Vec = float;
constexpr int kLanes = 1;
constexpr int kPanelVectors = 4;
constexpr const char* kName = "scalar";

static inline Vec load(const float* p) { return *p; }
static inline void store(float* p, Vec v) { *p = v; }
static inline Vec broadcast(float x) { return x; }
static inline Vec broadcast_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
static inline Vec add(Vec a, Vec b) { return a + b; }
static inline Vec sub(Vec a, Vec b) { return a - b; }
static inline Vec mul(Vec a, Vec b) { return a * b; }
static inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
static inline float fma_one(float a, float b, float c) { return a * b + c; }
static inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
static inline bool less(Vec a, Vec b) { return a < b; }
static inline Vec select(bool mask, Vec a, Vec b) { return mask ? a : b; }
static inline Vec widen_lanes(const uint16_t* p) { return flmr::half_to_float(*p); }
static inline bool any_at_least(Vec v, float threshold) { return v >= threshold; }

template <int nbits>
static inline Vec levels_at(const uint8_t* packed, int64_t d, const float* table) {
  const int64_t bit = d * nbits;
  unsigned word = packed[bit >> 3];
  if ((bit & 7) + nbits > 8) word |= static_cast<unsigned>(packed[(bit >> 3) + 1]) << 8;
  return table[(word >> (bit & 7)) & ((1u << nbits) - 1)];
}

}  // namespace

#include "body.h"

namespace flmr {
const Simd* simd_scalar() { return &kTable; }
}  // namespace flmr
