// The loops of simd.h, written once.  Included by scalar.cpp, avx2.cpp, avx512.cpp and neon.cpp after each has defined,
// in an unnamed namespace: Vec, kLanes, kPanelVectors, kName and load, store, broadcast, broadcast_bits, fma, max, less,
// select, widen_lanes, any_at_least and levels_at<nbits>, and what bytes.h asks for.
//
// Everything here has internal linkage and nothing of the standard library is used: a template or inline function
// compiled with AVX-512 flags could otherwise be the copy that the linker keeps for every caller.

#include <cstdint>
#include <cstring>

#include "../half.h"
#include "simd.h"
#include "trellis.h"

namespace {

constexpr float kMinusInf = -__builtin_huge_valf();

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

template <int vectors>
static inline void gather_max_columns(const float* table, const uint32_t* codes, int64_t count, int64_t width,
                                      float* best) {
  Vec most[vectors];
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) most[v] = broadcast(kMinusInf);
  for (int64_t i = 0; i < count; ++i) {
    const float* row = table + static_cast<int64_t>(codes[i]) * width;
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) most[v] = max(load(row + v * kLanes), most[v]);
  }
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) store(best + v * kLanes, most[v]);
}

static void gather_max(const float* table, const uint32_t* codes, int64_t count, int64_t width, float* best) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= width; c += 4 * kLanes) gather_max_columns<4>(table + c, codes, count, width, best + c);
  for (; c + kLanes <= width; c += kLanes) gather_max_columns<1>(table + c, codes, count, width, best + c);
  if (c < width && width >= kLanes) {  // the last vector overlaps the one before: a maximum may be taken twice
    gather_max_columns<1>(table + width - kLanes, codes, count, width, best + width - kLanes);
    return;
  }
  for (; c < width; ++c) {
    float most = kMinusInf;
    for (int64_t i = 0; i < count; ++i) {
      const float value = table[static_cast<int64_t>(codes[i]) * width + c];
      most = value > most ? value : most;
    }
    best[c] = most;
  }
}

static void widen(const uint16_t* half, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, widen_lanes(half + i));
  for (; i < count; ++i) out[i] = flmr::half_to_float(half[i]);
}

template <int nbits>
static inline void unpack_row(const uint8_t* packed, float scale, const float* base, int64_t dim, const float* table,
                              float* out) {
  int64_t d = 0;
  for (; d + kLanes <= dim; d += kLanes) {
    const Vec start = base ? load(base + d) : broadcast(0.0f);
    store(out + d, fma(broadcast(scale), levels_at<nbits>(packed, d, table), start));
  }
  for (; d < dim; ++d) {
    const int64_t bit = d * nbits;
    unsigned word = packed[bit >> 3];
    if ((bit & 7) + nbits > 8) word |= static_cast<unsigned>(packed[(bit >> 3) + 1]) << 8;
    const float level = table[(word >> (bit & 7)) & ((1u << nbits) - 1)];
    out[d] = fma_one(scale, level, base ? base[d] : 0.0f);
  }
}

template <int nbits>
static void unpack_rows(const uint8_t* packed, const uint16_t* scales, const uint32_t* codes, const float* bases,
                        int64_t count, int64_t dim, const float* table, float* out) {
  const int64_t bytes = (dim * nbits + 7) / 8;
  for (int64_t i = 0; i < count; ++i) {
    const float* base = bases ? bases + static_cast<int64_t>(codes[i]) * dim : nullptr;
    unpack_row<nbits>(packed + i * bytes, flmr::half_to_float(scales[i]), base, dim, table, out + i * dim);
  }
}

static void unpack(const uint8_t* packed, const uint16_t* scales, const uint32_t* codes, const float* bases,
                   int64_t count, int64_t dim, int nbits, const float* table, float* out) {
  switch (nbits) {
    case 1: return unpack_rows<1>(packed, scales, codes, bases, count, dim, table, out);
    case 2: return unpack_rows<2>(packed, scales, codes, bases, count, dim, table, out);
    case 3: return unpack_rows<3>(packed, scales, codes, bases, count, dim, table, out);
    case 4: return unpack_rows<4>(packed, scales, codes, bases, count, dim, table, out);
    case 8: return unpack_rows<8>(packed, scales, codes, bases, count, dim, table, out);
    default: return;
  }
}

static void bucket(const float* values, float factor, int64_t dim, const float* boundaries, int count,
                   uint8_t* numbers) {
  int64_t d = 0;
  if (count <= 15) {  // up to 4 bits: counting in lanes beats searching
    float counted[kLanes];
    for (; d + kLanes <= dim; d += kLanes) {
      const Vec value = mul(load(values + d), broadcast(factor));
      Vec below = broadcast(0.0f);
      for (int b = 0; b < count; ++b)
        below = add(below, select(less(broadcast(boundaries[b]), value), broadcast(1.0f), broadcast(0.0f)));
      store(counted, below);
      for (int i = 0; i < kLanes; ++i) numbers[d + i] = static_cast<uint8_t>(counted[i]);
    }
  }
  for (; d < dim; ++d) {
    const float value = values[d] * factor;
    int low = 0;
    for (int step = (count + 1) / 2; step; step /= 2) low += boundaries[low + step - 1] < value ? step : 0;
    numbers[d] = static_cast<uint8_t>(low);
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

constexpr flmr::Simd kTable = {
    kName,      kLanes,      kPanelVectors, dots,      max_into,  nearest,     gather_max, widen,
    unpack,     bucket,      find,          level_rows, byte_panel_size, pack_bytes, byte_dots,  byte_nearest,
    byte_scores, byte_best,  byte_round,    byte_max,  byte_select, most_code, seek};

}  // namespace
