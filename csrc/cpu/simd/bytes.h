// The byte loops of simd.h, written once, for blocks of 32 query rows.  Included by body.h after each instruction set has
// defined, in an unnamed namespace: Ints (kLanes int32), load_ints, store_ints, to_floats; kSums, how many of them are
// summed into at once (24 of AVX-512's and NEON's 32 registers, 12 of AVX2's 16); Cell and kGroup (the type of a
// panel's cell and how many dimensions one step multiplies), group_at, dot_group; Bytes (16 uint8), load_bytes,
// load_half (8 of them), store_bytes, add_bytes (at most 255), most_bytes; and level_row.
//
// All sums are of integers, and the few floating-point steps are the same everywhere: every instruction set gives the
// same bits.  Internal linkage only, nothing of the standard library (see body.h).

constexpr int kBlock = 32;
constexpr int kByteVectors = kBlock / kLanes;
constexpr int kBlockTokens = kByteVectors >= kSums ? 1 : kSums / kByteVectors;

static int64_t byte_panel_size(int64_t dim) {
  return (dim + kGroup - 1) / kGroup * kGroup * kBlock * static_cast<int64_t>(sizeof(Cell));
}

// panel[step][row][dimension in the group]; dimensions beyond the last hold zeros.
static void pack_bytes(const int8_t* rows, int64_t dim, void* panel) {
  Cell* cells = static_cast<Cell*>(panel);
  const int64_t steps = (dim + kGroup - 1) / kGroup;
  for (int64_t s = 0; s < steps; ++s)
    for (int row = 0; row < kBlock; ++row)
      for (int g = 0; g < kGroup; ++g) {
        const int64_t d = s * kGroup + g;
        cells[(s * kBlock + row) * kGroup + g] = d < dim ? static_cast<Cell>(rows[row * dim + d]) : Cell{0};
      }
}

// sums[token][row] = start[row] + the products of `tokens` tokens with as many vectors of a panel's rows.
template <int vectors, int tokens>
static inline void byte_sums(const Cell* panel, const int32_t* start, const uint8_t* tile, int64_t stride, int64_t steps,
                             Ints (&sums)[tokens][vectors]) {
#pragma GCC unroll 32
  for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 32
    for (int v = 0; v < vectors; ++v) sums[t][v] = load_ints(start + v * kLanes);
  for (int64_t s = 0; s < steps; ++s) {
    const Cell* cells = panel + s * kBlock * kGroup;
#pragma GCC unroll 32
    for (int t = 0; t < tokens; ++t) {
      const auto token = group_at(tile + t * stride + s * kGroup);
#pragma GCC unroll 32
      for (int v = 0; v < vectors; ++v) sums[t][v] = dot_group(sums[t][v], cells + v * kLanes * kGroup, token);
    }
  }
}

template <int vectors, int tokens>
static inline void byte_dots_tile(const Cell* panel, const int32_t* start, const uint8_t* tile, int64_t stride,
                                  int64_t steps, int32_t* out) {
  Ints sums[tokens][vectors];
  byte_sums<vectors, tokens>(panel, start, tile, stride, steps, sums);
#pragma GCC unroll 32
  for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 32
    for (int v = 0; v < vectors; ++v) store_ints(out + (t * vectors + v) * kLanes, sums[t][v]);
}

template <int vectors>
static inline void byte_dots_rows(const Cell* cells, const int32_t* start, const uint8_t* tile, int64_t stride,
                                  int64_t tokens, int64_t steps, int32_t* out) {
  constexpr int most = vectors >= kSums ? 1 : kSums / vectors, width = vectors * kLanes;
  int64_t t = 0;
  for (; t + most <= tokens; t += most)
    byte_dots_tile<vectors, most>(cells, start, tile + t * stride, stride, steps, out + t * width);
  if constexpr (most > 8)
    for (; t + 8 <= tokens; t += 8)
      byte_dots_tile<vectors, 8>(cells, start, tile + t * stride, stride, steps, out + t * width);
  if constexpr (most > 3)
    for (; t + 3 <= tokens; t += 3)
      byte_dots_tile<vectors, 3>(cells, start, tile + t * stride, stride, steps, out + t * width);
  for (; t < tokens; ++t) byte_dots_tile<vectors, 1>(cells, start, tile + t * stride, stride, steps, out + t * width);
}

static void byte_dots(const void* panel, const int32_t* start, const uint8_t* tile, int64_t stride, int64_t tokens,
                      int64_t dim, flmr::Span rows, int32_t* out) {
  const Cell* cells = static_cast<const Cell*>(panel) + rows.first * kGroup;
  const int64_t steps = (dim + kGroup - 1) / kGroup;
  if (rows.count == kBlock)
    byte_dots_rows<kByteVectors>(cells, start + rows.first, tile, stride, tokens, steps, out);
  else
    byte_dots_rows<kByteVectors / 2>(cells, start + rows.first, tile, stride, tokens, steps, out);
}

template <int tokens>
static inline void byte_nearest_tile(const Cell* panel, const int32_t* start, const uint8_t* tile, int64_t stride,
                                     int64_t steps, const float* half_norms, const float* scales, const float* inverses,
                                     uint32_t first, float* best, float* code) {
  Ints sums[tokens][kByteVectors];
  byte_sums<kByteVectors, tokens>(panel, start, tile, stride, steps, sums);
#pragma GCC unroll 32
  for (int v = 0; v < kByteVectors; ++v) {
    const Vec inverse = load(inverses + v * kLanes);
    Vec least = load(best + v * kLanes), winner = load(code + v * kLanes);
#pragma GCC unroll 32
    for (int t = 0; t < tokens; ++t) {
      const Vec product = mul(to_floats(sums[t][v]), broadcast(scales[t]));
      const Vec distance = sub(mul(broadcast(half_norms[t]), inverse), product);
      const auto closer = less(distance, least);
      least = select(closer, distance, least);
      winner = select(closer, broadcast_bits(first + static_cast<uint32_t>(t)), winner);
    }
    store(best + v * kLanes, least);
    store(code + v * kLanes, winner);
  }
}

// Two thirds of the sums that byte_dots holds: the comparison needs registers too.
constexpr int kNearestTokens = kBlockTokens > 2 ? kBlockTokens * 2 / 3 : kBlockTokens;

static void byte_nearest(const void* panel, const int32_t* start, const uint8_t* tile, int64_t stride, int64_t tokens,
                         int64_t dim, const float* half_norms, const float* scales, const float* inverses,
                         uint32_t first, float* best, float* code) {
  const Cell* cells = static_cast<const Cell*>(panel);
  const int64_t steps = (dim + kGroup - 1) / kGroup;
  const auto number = [&](int64_t t) { return first + static_cast<uint32_t>(t); };
  int64_t t = 0;
  for (; t + kNearestTokens <= tokens; t += kNearestTokens)
    byte_nearest_tile<kNearestTokens>(cells, start, tile + t * stride, stride, steps, half_norms + t, scales + t,
                                      inverses, number(t), best, code);
  for (; t < tokens; ++t)
    byte_nearest_tile<1>(cells, start, tile + t * stride, stride, steps, half_norms + t, scales + t, inverses,
                         number(t), best, code);
}

static inline Vec whole(const int32_t* high, const int32_t* low, float low_share) {
  const Vec value = to_floats(load_ints(high));
  return low ? add(value, mul(to_floats(load_ints(low)), broadcast(low_share))) : value;
}

static void byte_scores(const int32_t* high, const int32_t* low, float low_share, const float* steps,
                        const float* scales, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i)
    for (int v = 0; v < kBlock; v += kLanes) {
      const int64_t place = i * kBlock + v;
      const Vec factor = mul(load(steps + v), broadcast(scales[i]));
      store(out + place, mul(whole(high + place, low ? low + place : nullptr, low_share), factor));
    }
}

template <int vectors>
static inline void byte_best_rows(const int32_t* high, const int32_t* low, float low_share, const float* steps,
                                  const float* scales, const float* table, const uint16_t* codes, int64_t count,
                                  float* best) {
  Vec most[vectors];
#pragma GCC unroll 32
  for (int v = 0; v < vectors; ++v) most[v] = load(best + v * kLanes);
  for (int64_t i = 0; i < count; ++i) {
    const float* base = table + static_cast<int64_t>(codes[i]) * kBlock;
#pragma GCC unroll 32
    for (int v = 0; v < vectors; ++v) {
      const int64_t place = (i * vectors + v) * kLanes;
      const Vec factor = mul(load(steps + v * kLanes), broadcast(scales[i]));
      const Vec residual = mul(whole(high + place, low ? low + place : nullptr, low_share), factor);
      most[v] = max(add(load(base + v * kLanes), residual), most[v]);
    }
  }
#pragma GCC unroll 32
  for (int v = 0; v < vectors; ++v) store(best + v * kLanes, most[v]);
}

static void byte_best(const int32_t* high, const int32_t* low, float low_share, const float* steps, const float* scales,
                      const float* table, const uint16_t* codes, int64_t count, flmr::Span rows, float* best) {
  steps += rows.first, table += rows.first, best += rows.first;
  if (rows.count == kBlock)
    byte_best_rows<kByteVectors>(high, low, low_share, steps, scales, table, codes, count, best);
  else
    byte_best_rows<kByteVectors / 2>(high, low, low_share, steps, scales, table, codes, count, best);
}

template <int rows>
static void byte_range_of(const float* scores, int64_t count, float* lows, float* highs) {
  for (int64_t i = 0; i < count; ++i)
    for (int row = 0; row < rows; ++row) {
      const float value = scores[i * rows + row];
      lows[row] = value < lows[row] ? value : lows[row];
      highs[row] = value > highs[row] ? value : highs[row];
    }
}

static void byte_range(const float* scores, int64_t count, int rows, float* lows, float* highs) {
  return rows == 8 ? byte_range_of<8>(scores, count, lows, highs) : byte_range_of<16>(scores, count, lows, highs);
}

template <int rows>
static void byte_round_of(const float* scores, const float* lows, const float* factors, float top, int64_t count,
                          uint8_t* out) {
  for (int64_t i = 0; i < count; ++i)
    for (int row = 0; row < rows; ++row) {
      const float value = (scores[i * rows + row] - lows[row]) * factors[row] + 0.5f;
      const float kept = value > 0.0f ? (value < top ? value : top) : 0.0f;  // NaN becomes 0
      out[i * rows + row] = static_cast<uint8_t>(static_cast<int32_t>(kept));
    }
}

static void byte_round(const float* scores, const float* lows, const float* factors, float top, int64_t count, int rows,
                       uint8_t* out) {
  return rows == 8 ? byte_round_of<8>(scores, lows, factors, top, count, out)
                   : byte_round_of<16>(scores, lows, factors, top, count, out);
}

template <int rows>
static inline void byte_max_of(const uint8_t* table, const uint16_t* codes, const uint8_t* scales, const uint8_t* bonus,
                               int64_t count, uint8_t* best) {
  const auto token = [&](int64_t i) {
    const uint8_t* row = table + static_cast<int64_t>(codes[i]) * rows;
    return add_bytes(rows == 8 ? load_half(row) : load_bytes(row), load_bytes(bonus + scales[i] * 16));
  };
  const uint8_t zeros[16] = {};
  Bytes even = load_bytes(zeros), odd = even;
  int64_t i = 0;
  for (; i + 2 <= count; i += 2) {  // two chains hide the latency of the table
    even = most_bytes(even, token(i));
    odd = most_bytes(odd, token(i + 1));
  }
  if (i < count) even = most_bytes(even, token(i));
  store_bytes(best, most_bytes(even, odd));
}

static void byte_max(const uint8_t* table, int rows, const uint16_t* codes, const uint8_t* scales, const uint8_t* bonus,
                     int64_t count, uint8_t* best) {
  return rows == 8 ? byte_max_of<8>(table, codes, scales, bonus, count, best)
                   : byte_max_of<16>(table, codes, scales, bonus, count, best);
}

static uint32_t most_code(const uint16_t* codes, int64_t count) {
  uint16_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = codes[i] > most ? codes[i] : most;
  return most;
}

// A window is the six newest bits of a row's bit stream, the newest highest; before the first bit there are zeros.  One
// look-up yields `kTogether` dimensions: the key is their bits and the window's older ones below them.
template <int nbits>
struct Together {
  static constexpr int dims = nbits <= 2 ? 4 : 2;
  static constexpr int key_bits = dims * nbits + 6 - nbits;
};

template <int nbits>
static inline void level_row_by_table(const uint8_t* packed, int64_t dim, const uint8_t* wide, uint8_t* out) {
  constexpr int dims = Together<nbits>::dims, key_bits = Together<nbits>::key_bits;
  const int64_t bytes = (dim * nbits + 7) / 8;
  uint64_t held = 0;  // the stream from the oldest bit that matters; the 6 - nbits oldest come before the next dimension
  int have = 6 - nbits;
  int64_t next = 0;
  for (int64_t d = 0; d < dim; d += dims) {
    while (have < key_bits) {
      held |= static_cast<uint64_t>(next < bytes ? packed[next] : 0) << have;
      ++next;
      have += 8;
    }
    const uint8_t* found = wide + (held & ((uint64_t{1} << key_bits) - 1)) * dims;
    const int64_t count = dim - d < dims ? dim - d : dims;
    if (count == dims)
      __builtin_memcpy(out + d, found, dims);
    else
      for (int64_t j = 0; j < count; ++j) out[d + j] = found[j];
    held >>= dims * nbits;
    have -= dims * nbits;
  }
}

static void level_rows(const uint8_t* packed, int64_t count, int64_t dim, int nbits, const uint8_t* table,
                       const uint8_t* wide, int64_t stride, uint8_t* out) {
  const int64_t bytes = (dim * nbits + 7) / 8;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* row = packed + i * bytes;
    uint8_t* place = out + i * stride;
    switch (nbits) {
      case 1: level_row<1>(row, dim, table, wide, place); break;
      case 2: level_row<2>(row, dim, table, wide, place); break;
      case 3: level_row<3>(row, dim, table, wide, place); break;
      case 4: level_row<4>(row, dim, table, wide, place); break;
      default: __builtin_memcpy(place, row, static_cast<size_t>(dim));
    }
  }
}
