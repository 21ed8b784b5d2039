// What an instruction set offers to the kernels: a table of loops over a tile that fits the first-level cache.
//
// The loops are written once, in body.h, and compiled once per instruction set.  The kernels (cpu/*.cpp) are ordinary
// C++ and hold the threads, the blocking and the checks.

#pragma once
#include <cstdint>

namespace flmr {

constexpr int kPaths = 32;

// Residuals whose paths through the trellis are sought together, one a lane, and the buffers for that.
struct Paths {
  const float* residuals;  // [dim][kPaths]
  const float* factors;    // [kPaths]: times this they are as wide as the levels
  int16_t* values;         // scratch [dim][kPaths]
  uint8_t* choices;        // scratch [dim][64 >> nbits][kPaths]
  uint8_t* windows;        // [dim][kPaths]: the low 6 - nbits bits of each are the high ones of the one before, 0 at first
  uint8_t* packed;         // [ceil(dim / 8) * nbits][kPaths]: the high nbits bits of the windows
  float* fitted;           // [kPaths]: the least-squares scale of the levels, which a residual of zeros has as 0
};

// Rows of a block: all 32 of them, or 16.
struct Span {
  int first, count;
};

struct Simd {
  const char* name;
  int lanes;          // floats in one vector
  int panel_vectors;  // most vectors in one panel

  // A panel holds `vectors * lanes` rows, transposed: panel[d][row].  out[token][row] = dot(row, tile[token]).
  // Each dot is one chain of fused multiply-adds per 256 dimensions, in order: the same bits wherever row and token stand.
  void (*dots)(const float* panel, int vectors, const float* tile, int64_t tokens, int64_t dim, float* out);

  // bfloat16: values are rounded to it (to nearest, ties to even; a NaN stays one) and stored in cells of 32 bits: two in
  // one where pairs can be multiplied, then a last odd value has a zero beside it; else one, as a float.
  int values_in_cell;
  void (*round_rows)(const void* values, bool half, int64_t rows, int64_t dim, float* cells);

  // dots of such cells; products and sums are of floats.
  void (*round_dots)(const float* panel, int vectors, const float* tile, int64_t tokens, int64_t cells, float* out);

  // best[c] = max(best[c], values[i][c] for all i).
  void (*max_into)(const float* values, int64_t count, int64_t width, float* best);

  // For token i: distance = half_norms[i] - dots[i][c]; where it is below best[c], it goes there and first + i to code[c]
  // (an unsigned number's bits kept as a float's: never computed with).
  void (*nearest)(const float* dots, const float* half_norms, int64_t count, int64_t width, uint32_t first, float* best,
                  float* code);

  // float16 to float32.
  void (*widen)(const uint16_t* half, int64_t count, float* out);

  // First i >= begin with scores[i] >= threshold, or count.
  int64_t (*find)(const float* scores, int64_t begin, int64_t count, float threshold);

  // Bytes.  A block is 32 query rows; rows that are not there have steps and values of 0.

  // out[i][d] = 128 + level of dimension d of packed row i.  table: 64 levels + 128.  wide: the same
  // for several dimensions at once, made by wide_levels.  nbits 8: the bytes as they are.
  void (*level_rows)(const uint8_t* packed, int64_t count, int64_t dim, int nbits, const uint8_t* table,
                     const uint8_t* wide, int64_t stride, uint8_t* out);

  // A panel holds 32 rows of int8, laid out as this instruction set multiplies them.
  int64_t (*byte_panel_size)(int64_t dim);
  void (*pack_bytes)(const int8_t* rows, int64_t dim, void* panel);

  // out[token][row of the span] = start[row] + sum over d of tile[token][d] * panel[row][d]; tile rows are readable up to
  // a multiple of four dimensions.
  void (*byte_dots)(const void* panel, const int32_t* start, const uint8_t* tile, int64_t stride, int64_t tokens,
                    int64_t dim, Span rows, int32_t* out);

  // For token t: distance = half_norms[t] * inverses[row] - scales[t] * the sum of byte_dots; where it is below best[row],
  // it goes there and first + t to code[row] (bits, as in `nearest`).
  void (*byte_nearest)(const void* panel, const int32_t* start, const uint8_t* tile, int64_t stride, int64_t tokens,
                       int64_t dim, const float* half_norms, const float* scales, const float* inverses, uint32_t first,
                       float* best, float* code);

  // out[i][row] = (high + low * low_share) * (steps[row] * scales[i]); low may be null.
  void (*byte_scores)(const int32_t* high, const int32_t* low, float low_share, const float* steps,
                      const float* scales, int64_t count, float* out);

  // best[row] = max(best[row], table[codes[i]][row] + the value of byte_scores), for the rows of the span; what goes by
  // row, best and the table's rows among it, starts at row 0 of the block, the products at the span.
  void (*byte_best)(const int32_t* high, const int32_t* low, float low_share, const float* steps, const float* scales,
                    const float* table, const uint16_t* codes, int64_t count, Span rows, float* best);

  // Blocks of 8 or 16 merged rows: `rows` says which.

  // lows[row] = min(lows[row], scores[i][row]), highs likewise.
  void (*byte_range)(const float* scores, int64_t count, int rows, float* lows, float* highs);

  // out[i][row] = round((scores[i][row] - lows[row]) * factors[row]), kept within 0 .. top.
  void (*byte_round)(const float* scores, const float* lows, const float* factors, float top, int64_t count, int rows,
                     uint8_t* out);

  // best[row] = max over i of table[codes[i]][row] + bonus[scales[i]][row], at most 255; 0 where count is 0.  bonus:
  // [256][16]; best has room for 16.
  void (*byte_max)(const uint8_t* table, int rows, const uint16_t* codes, const uint8_t* scales, const uint8_t* bonus,
                   int64_t count, uint8_t* best);

  uint32_t (*most_code)(const uint16_t* codes, int64_t count);

  // Groups of `few_together` tokens, each `few_stride` bytes of a tile and `few_width` sums, in an order of their own;
  // a group that is not full repeats its first token.  Steps are how much the rows' bytes stand for.
  int64_t (*few_panel_size)(int rows, int64_t dim);
  void (*pack_few)(const int8_t* values, int rows, int64_t dim, void* panel);
  int (*few_together)(int rows);
  int (*few_width)(int rows);
  int64_t (*few_stride)(int rows, int64_t dim);
  void (*few_levels)(const uint8_t* packed, int64_t count, int64_t dim, int nbits, const uint8_t* table,
                     const uint8_t* wide, int rows, uint8_t* out);
  void (*few_dots)(const void* panel, const uint8_t* tile, int64_t groups, int64_t dim, int rows, int32_t* out);

  // out[i][row] = dots * (steps[row] * scales[i])
  void (*few_scores)(const int32_t* dots, const float* steps, const float* scales, int64_t count, int rows, float* out);

  // best[row] = max(best[row], table[codes[i]][row] + that)
  void (*few_best)(const int32_t* dots, const float* steps, const float* scales, const float* table,
                   const uint16_t* codes, int64_t count, int rows, float* best);

  // Fills what `paths` has room for: the windows w of 6 bits, one a dimension, with the least sum of
  // (residual * factor - levels[w])^2 among those that follow one another.
  void (*seek)(const Paths& paths, int64_t dim, const int8_t* levels, int nbits);
};

const Simd& simd(const char* name);  // throws Refused for a name that is not in simd_names()

}  // namespace flmr
