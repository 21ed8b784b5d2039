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
static inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
static inline bool less(Vec a, Vec b) { return a < b; }
static inline Vec select(bool mask, Vec a, Vec b) { return mask ? a : b; }
static inline Vec widen_lanes(const uint16_t* p) { return flmr::half_to_float(*p); }
static inline bool any_at_least(Vec v, float threshold) { return v >= threshold; }

using Ints = int32_t;
static inline Ints load_ints(const int32_t* p) { return *p; }
static inline void store_ints(int32_t* p, Ints v) { *p = v; }
static inline Vec to_floats(Ints v) { return static_cast<float>(v); }

using Cell = int16_t;
constexpr int kGroup = 1;
constexpr int kSums = 32;
static inline int32_t group_at(const uint8_t* p) { return *p; }
static inline Ints dot_group(Ints sum, const Cell* cells, int32_t token) { return sum + *cells * token; }

struct Bytes {
  uint8_t at[16];
};
static inline Bytes load_bytes(const uint8_t* p) {
  Bytes v;
  __builtin_memcpy(v.at, p, 16);
  return v;
}
static inline Bytes load_half(const uint8_t* p) {
  Bytes v = {};
  __builtin_memcpy(v.at, p, 8);
  return v;
}
static inline void store_bytes(uint8_t* p, Bytes v) { __builtin_memcpy(p, v.at, 16); }
static inline Bytes add_bytes(Bytes a, Bytes b) {
  for (int i = 0; i < 16; ++i) a.at[i] = static_cast<uint8_t>(a.at[i] + b.at[i] > 255 ? 255 : a.at[i] + b.at[i]);
  return a;
}
static inline Bytes most_bytes(Bytes a, Bytes b) {
  for (int i = 0; i < 16; ++i) a.at[i] = a.at[i] > b.at[i] ? a.at[i] : b.at[i];
  return a;
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
const Simd* simd_scalar() { return &kTable; }
}  // namespace flmr
