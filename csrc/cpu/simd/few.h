// The byte loops of estimates, for blocks of 8 or 16 merged query rows.  Included by body.h after bytes.h.
//
// Where a vector has more lanes than a block has rows, two tokens share it (Side::pairs): lane l is row l / 2 of token l % 2.
// A tile is then of pairs, 64 dimensions after 64, and a panel has every row twice, its steps in the order in which
// pair_levels leaves the dimensions.  Elsewhere a tile is of tokens, each on its own.  Like the loops of bytes.h these
// give the same bits on every instruction set.

template <int rows>
constexpr int kTogether = Side::pairs && kLanes > rows ? 2 : 1;  // tokens in a vector
template <int rows>
constexpr int kFewLanes = rows > kLanes ? rows : kLanes;  // of a group of tokens, in one vector or several

constexpr int kPairChunk = 64;  // dimensions

static inline int64_t few_steps(int64_t dim, int together) {
  return together == 2 ? (dim + kPairChunk - 1) / kPairChunk * (kPairChunk / kGroup) : (dim + kGroup - 1) / kGroup;
}

// The first dimension of a step.
static inline int64_t few_dimension(int64_t step, int together) {
  if (together == 1) return step * kGroup;
  const int64_t unit = step % 16;  // see pair_levels: units 0 to 7 are the first two groups of four of each 16 dimensions
  return step / 16 * kPairChunk + (unit % 8 / 2 * 4 + unit / 8 * 2 + unit % 2) * 4;
}

template <int rows>
static int64_t few_panel_size_of(int64_t dim) {
  return kFewLanes<rows> * 4 + few_steps(dim, kTogether<rows>) * kFewLanes<rows> * kGroup * static_cast<int64_t>(sizeof(Cell));
}

static int64_t few_panel_size(int rows, int64_t dim) {
  return rows == 8 ? few_panel_size_of<8>(dim) : few_panel_size_of<16>(dim);
}

// First what each lane's sum starts with: tokens come as level + 128, and 128 times the row is taken away again.
template <int rows>
static void pack_few_of(const int8_t* values, int64_t dim, void* panel) {
  constexpr int together = kTogether<rows>, lanes = kFewLanes<rows>;
  int32_t* start = static_cast<int32_t*>(panel);
  Cell* cells = reinterpret_cast<Cell*>(start + lanes);
  const int64_t steps = few_steps(dim, together);
  for (int lane = 0; lane < lanes; ++lane) {
    const int row = lane / together;
    const int8_t* from = values + row * dim;
    start[lane] = 0;
    for (int64_t d = 0; d < dim && row < rows; ++d) start[lane] -= 128 * from[d];
    for (int64_t s = 0; s < steps; ++s)
      for (int g = 0; g < kGroup; ++g) {
        const int64_t d = few_dimension(s, together) + g;
        cells[(s * lanes + lane) * kGroup + g] = row < rows && d < dim ? static_cast<Cell>(from[d]) : Cell{0};
      }
  }
}

static void pack_few(const int8_t* values, int rows, int64_t dim, void* panel) {
  return rows == 8 ? pack_few_of<8>(values, dim, panel) : pack_few_of<16>(values, dim, panel);
}

static int few_together(int rows) { return rows == 8 ? kTogether<8> : kTogether<16>; }

static int64_t few_stride(int rows, int64_t dim) {
  return few_together(rows) == 2 ? (dim + kPairChunk - 1) / kPairChunk * kPairChunk * 2
                                 : (dim + kPairChunk - 1) / kPairChunk * kPairChunk;
}

static int few_width(int rows) { return rows == 8 ? kFewLanes<8> : kFewLanes<16>; }

template <class Beside>
static inline void few_pair(const uint8_t* first, const uint8_t* second, int64_t dim, int nbits, const uint8_t* table,
                            uint8_t* out) {
  switch (nbits) {
    case 1: return Beside::template levels<1>(first, second, dim, table, out);
    case 2: return Beside::template levels<2>(first, second, dim, table, out);
    case 3: return Beside::template levels<3>(first, second, dim, table, out);
    case 4: return Beside::template levels<4>(first, second, dim, table, out);
    default: return Beside::template levels<8>(first, second, dim, table, out);
  }
}

template <int rows, class Beside = Side>
static void few_levels_of(const uint8_t* packed, int64_t count, int64_t dim, int nbits, const uint8_t* table,
                          const uint8_t* wide, uint8_t* out) {
  const int64_t stride = few_stride(rows, dim), bytes = (dim * nbits + 7) / 8;
  if constexpr (kTogether<rows> == 1) return level_rows(packed, count, dim, nbits, table, wide, stride, out);
  else
    for (int64_t i = 0; i < count; i += 2, out += stride, packed += 2 * bytes)
      few_pair<Beside>(packed, i + 1 < count ? packed + bytes : packed, dim, nbits, table, out);
}

static void few_levels(const uint8_t* packed, int64_t count, int64_t dim, int nbits, const uint8_t* table,
                       const uint8_t* wide, int rows, uint8_t* out) {
  return rows == 8 ? few_levels_of<8>(packed, count, dim, nbits, table, wide, out)
                   : few_levels_of<16>(packed, count, dim, nbits, table, wide, out);
}

template <int rows, int groups, class Beside = Side>
static inline void few_dots_tile(const int32_t* start, const Cell* cells, const uint8_t* tile, int64_t stride,
                                 int64_t steps, int32_t* out) {
  constexpr int vectors = kFewLanes<rows> / kLanes, together = kTogether<rows>;
  Ints sums[groups][vectors];
#pragma GCC unroll 32
  for (int g = 0; g < groups; ++g)
#pragma GCC unroll 32
    for (int v = 0; v < vectors; ++v) sums[g][v] = load_ints(start + v * kLanes);
  for (int64_t s = 0; s < steps; ++s, cells += vectors * kLanes * kGroup)
#pragma GCC unroll 32
    for (int g = 0; g < groups; ++g) {
      const uint8_t* place = tile + g * stride + s * kGroup * together;
      const auto token = [&] {
        if constexpr (together == 2) return Beside::at(place);
        else return group_at(place);
      }();
#pragma GCC unroll 32
      for (int v = 0; v < vectors; ++v) sums[g][v] = dot_group(sums[g][v], cells + v * kLanes * kGroup, token);
    }
#pragma GCC unroll 32
  for (int g = 0; g < groups; ++g)
#pragma GCC unroll 32
    for (int v = 0; v < vectors; ++v) store_ints(out + (g * vectors + v) * kLanes, sums[g][v]);
}

template <int rows>
static void few_dots_of(const void* panel, const uint8_t* tile, int64_t groups, int64_t dim, int32_t* out) {
  constexpr int width = kFewLanes<rows>, vectors = width / kLanes, room = kSums / vectors;
  constexpr int most = room >= 16 ? 16 : room >= 8 ? 8 : room >= 4 ? 4 : 1;
  const int32_t* start = static_cast<const int32_t*>(panel);
  const Cell* cells = reinterpret_cast<const Cell*>(start + width);
  const int64_t stride = few_stride(rows, dim), steps = few_steps(dim, kTogether<rows>);
  int64_t g = 0;
  for (; g + most <= groups; g += most) few_dots_tile<rows, most>(start, cells, tile + g * stride, stride, steps, out + g * width);
  if constexpr (most > 4)
    for (; g + 4 <= groups; g += 4) few_dots_tile<rows, 4>(start, cells, tile + g * stride, stride, steps, out + g * width);
  for (; g < groups; ++g) few_dots_tile<rows, 1>(start, cells, tile + g * stride, stride, steps, out + g * width);
}

static void few_dots(const void* panel, const uint8_t* tile, int64_t groups, int64_t dim, int rows, int32_t* out) {
  return rows == 8 ? few_dots_of<8>(panel, tile, groups, dim, out) : few_dots_of<16>(panel, tile, groups, dim, out);
}

template <int rows, class Beside = Side>
static void few_scores_of(const int32_t* dots, const float* steps, const float* scales, int64_t count, float* out) {
  if constexpr (kTogether<rows> == 2) return Beside::scores_of(dots, steps, scales, count, out);
  else
    for (int64_t i = 0; i < count; ++i)
      for (int row = 0; row < rows; ++row)
        out[i * rows + row] = static_cast<float>(dots[i * kFewLanes<rows> + row]) * (steps[row] * scales[i]);
}

static void few_scores(const int32_t* dots, const float* steps, const float* scales, int64_t count, int rows, float* out) {
  return rows == 8 ? few_scores_of<8>(dots, steps, scales, count, out) : few_scores_of<16>(dots, steps, scales, count, out);
}

template <int rows, class Beside = Side>
static void few_best_of(const int32_t* dots, const float* steps, const float* scales, const float* table,
                        const uint16_t* codes, int64_t count, float* best) {
  constexpr int width = kFewLanes<rows>, vectors = width / kLanes;
  if constexpr (kTogether<rows> == 2) {
    Beside::best_of(dots, steps, scales, table, codes, count, best);
  } else if constexpr (rows < kLanes) {
    for (int64_t i = 0; i < count; ++i)
      for (int row = 0; row < rows; ++row) {
        const float residual = static_cast<float>(dots[i * width + row]) * (steps[row] * scales[i]);
        const float score = table[codes[i] * rows + row] + residual;
        best[row] = score > best[row] ? score : best[row];
      }
  } else {
    Vec most[vectors];
#pragma GCC unroll 32
    for (int v = 0; v < vectors; ++v) most[v] = load(best + v * kLanes);
    for (int64_t i = 0; i < count; ++i) {
      const float* base = table + static_cast<int64_t>(codes[i]) * rows;
      const Vec scale = broadcast(scales[i]);
#pragma GCC unroll 32
      for (int v = 0; v < vectors; ++v) {
        const Vec product = to_floats(load_ints(dots + i * width + v * kLanes));
        const Vec residual = mul(product, mul(load(steps + v * kLanes), scale));
        most[v] = max(add(load(base + v * kLanes), residual), most[v]);
      }
    }
#pragma GCC unroll 32
    for (int v = 0; v < vectors; ++v) store(best + v * kLanes, most[v]);
  }
}

static void few_best(const int32_t* dots, const float* steps, const float* scales, const float* table,
                     const uint16_t* codes, int64_t count, int rows, float* best) {
  return rows == 8 ? few_best_of<8>(dots, steps, scales, table, codes, count, best)
                   : few_best_of<16>(dots, steps, scales, table, codes, count, best);
}
