// The loops of simd.h, written once.  Included by scalar.cpp, avx2.cpp, avx512.cpp and neon.cpp after each has defined,
// in an unnamed namespace: Vec, kLanes, kPanelVectors, kName and load, store, broadcast, broadcast_bits, fma, max, less,
// select, widen_lanes, any_at_least, and what bytes.h asks for.
//
// Everything here has internal linkage and nothing of the standard library is used: a template or inline function
// compiled with AVX-512 flags could otherwise be the copy that the linker keeps for every caller.

#include <cstdint>
#include <cstring>

#include "../half.h"
#include "simd.h"
#include "trellis.h"

namespace {

// 6 tokens x 2 vectors fill 12 of AVX2's 16 registers, 6 x 4 fill 24 of AVX-512's 32; both leave room for the rows and
// the broadcast, and both exceed the 8 to 10 fused multiply-adds that must be in flight to hide their latency.
constexpr int kTokens = 6;
// Rounding errors grow along one chain: 256 steps, then the chains are added.
constexpr int64_t kDepth = 256;

template <int vectors, int tokens>
static inline void dots_tile(const float* panel, const float* tile, int64_t dim, float* out) {
  constexpr int width = vectors * kLanes;
  for (int64_t begin = 0; begin < dim; begin += kDepth) {
    const int64_t end = begin + kDepth < dim ? begin + kDepth : dim;
    Vec sums[tokens][vectors];
#pragma GCC unroll 16
    for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sums[t][v] = broadcast(0.0f);
    for (int64_t d = begin; d < end; ++d) {
      Vec rows[vectors];
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) rows[v] = load(panel + d * width + v * kLanes);
#pragma GCC unroll 16
      for (int t = 0; t < tokens; ++t) {
        const Vec value = broadcast(tile[t * dim + d]);
#pragma GCC unroll 16
        for (int v = 0; v < vectors; ++v) sums[t][v] = fma(rows[v], value, sums[t][v]);
      }
    }
#pragma GCC unroll 16
    for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) {
        float* place = out + t * width + v * kLanes;
        store(place, begin == 0 ? sums[t][v] : add(load(place), sums[t][v]));
      }
  }
}

template <int vectors>
static inline void dots_panel(const float* panel, const float* tile, int64_t tokens, int64_t dim, float* out) {
  constexpr int width = vectors * kLanes;
  int64_t t = 0;
  if constexpr (vectors == 1)  // few query rows: more tokens instead, to keep as many multiply-adds in flight
    for (; t + 2 * kTokens <= tokens; t += 2 * kTokens)
      dots_tile<1, 2 * kTokens>(panel, tile + t * dim, dim, out + t * width);
  for (; t + kTokens <= tokens; t += kTokens) dots_tile<vectors, kTokens>(panel, tile + t * dim, dim, out + t * width);
  tile += t * dim;
  out += t * width;
  switch (tokens - t) {
    case 5: return dots_tile<vectors, 5>(panel, tile, dim, out);
    case 4: return dots_tile<vectors, 4>(panel, tile, dim, out);
    case 3: return dots_tile<vectors, 3>(panel, tile, dim, out);
    case 2: return dots_tile<vectors, 2>(panel, tile, dim, out);
    case 1: return dots_tile<vectors, 1>(panel, tile, dim, out);
    default: return;
  }
}

static void dots(const float* panel, int vectors, const float* tile, int64_t tokens, int64_t dim, float* out) {
  switch (vectors) {
    case 1: return dots_panel<1>(panel, tile, tokens, dim, out);
    case 2: return dots_panel<2>(panel, tile, tokens, dim, out);
    case 3: if constexpr (kPanelVectors >= 3) return dots_panel<3>(panel, tile, tokens, dim, out); return;
    case 4: if constexpr (kPanelVectors >= 4) return dots_panel<4>(panel, tile, tokens, dim, out); return;
    default: return;
  }
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

constexpr flmr::Simd kTable = {
    kName,      kLanes,          kPanelVectors, dots,      max_into,     nearest,     widen,     find,
    level_rows, byte_panel_size, pack_bytes,    byte_dots, byte_nearest, byte_scores, byte_best, byte_range,
    byte_round, byte_max,        byte_sum,      most_code, seek};

}  // namespace
