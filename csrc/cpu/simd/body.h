// The loops of simd.h, written once.  Included by scalar.cpp, avx2.cpp, avx512.cpp, avx512vnni.cpp and neon.cpp after each
// has defined, in an unnamed namespace: Vec, kLanes, kPanelVectors, kSums, kName and load, store, broadcast,
// broadcast_bits, fma, max, less, select, widen_lanes, any_at_least, and what bytes.h asks for.
//
// Everything here has internal linkage and nothing of the standard library is used: a template or inline function
// compiled with AVX-512 flags could otherwise be the copy that the linker keeps for every caller.

#include <cstdint>
#include <cstring>

#include "../half.h"
#include "simd.h"
#include "trellis.h"

namespace {

#include "dots.h"

struct Floats {
  static inline Vec add(Vec rows, Vec cell, Vec sum) { return fma(rows, cell, sum); }
};

static void dots(const float* panel, int vectors, const float* tile, int64_t tokens, int64_t dim, float* out) {
  dots_of<Floats>(panel, vectors, tile, tokens, dim, out);
}

static void max_into(const float* values, int64_t count, int64_t width, float* best) {
  for (int64_t c = 0; c < width; c += kLanes) {
    Vec most = load(best + c);
    for (int64_t i = 0; i < count; ++i) most = max(load(values + i * width + c), most);
    store(best + c, most);
  }
}

static void nearest(const float* dots, const float* half_norms, int64_t count, int64_t width, uint32_t first,
                    float* best, float* code) {
  for (int64_t c = 0; c < width; c += kLanes) {
    Vec least = load(best + c);
    Vec winner = load(code + c);
    for (int64_t i = 0; i < count; ++i) {
      const Vec distance = sub(broadcast(half_norms[i]), load(dots + i * width + c));
      const auto closer = less(distance, least);
      least = select(closer, distance, least);
      winner = select(closer, broadcast_bits(first + static_cast<uint32_t>(i)), winner);
    }
    store(best + c, least);
    store(code + c, winner);
  }
}

static void widen(const uint16_t* half, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, widen_lanes(half + i));
  for (; i < count; ++i) out[i] = flmr::half_to_float(half[i]);
}

static void round_rows(const void* values, bool half, int64_t rows, int64_t dim, float* cells) {
  const int64_t count = rows * dim;
  if (half)
    widen(static_cast<const uint16_t*>(values), count, cells);
  else
    __builtin_memcpy(cells, values, static_cast<size_t>(count) * sizeof(float));
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, cells + i, 4);
    const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    bits = is_nan ? 0x7fc00000u : (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    __builtin_memcpy(cells + i, &bits, 4);
  }
}

static int64_t find(const float* scores, int64_t begin, int64_t count, float threshold) {
  int64_t i = begin;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    if (any_at_least(load(scores + i), threshold) | any_at_least(load(scores + i + kLanes), threshold) |
        any_at_least(load(scores + i + 2 * kLanes), threshold) | any_at_least(load(scores + i + 3 * kLanes), threshold))
      break;
  while (i < count && !(scores[i] >= threshold)) ++i;
  return i;
}

#include "bytes.h"
#include "few.h"

constexpr flmr::Simd kTable = {
    kName,      kLanes,     kPanelVectors, dots,       1,               round_rows, dots,      max_into,     nearest,
    widen,      find,       level_rows,    byte_panel_size, pack_bytes, byte_dots,  byte_nearest, byte_scores, byte_best,
    byte_range, byte_round, byte_max,      most_code,  few_panel_size,  pack_few,   few_together, few_width,   few_stride,
    few_levels, few_dots,   few_scores,    few_best,   seek};

}  // namespace
