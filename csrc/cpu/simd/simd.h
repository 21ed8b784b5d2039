// What an instruction set offers to the kernels: a table of loops over a tile that fits the first-level cache.
//
// The loops are written once, in body.h, and compiled once per instruction set.  The kernels (cpu/*.cpp) are ordinary
// C++ and hold the threads, the blocking and the checks.

#pragma once
#include <cstdint>

namespace flmr {

struct Simd {
  const char* name;
  int lanes;          // floats in one vector
  int panel_vectors;  // most vectors in one panel

  // A panel holds `vectors * lanes` rows, transposed: panel[d][row].  out[token][row] = dot(row, tile[token]).
  // Each dot is one chain of fused multiply-adds per 256 dimensions, in order: the same bits wherever row and token stand.
  void (*dots)(const float* panel, int vectors, const float* tile, int64_t tokens, int64_t dim, float* out);

  // best[c] = max(best[c], values[i][c] for all i).
  void (*max_into)(const float* values, int64_t count, int64_t width, float* best);

  // For token i: distance = half_norms[i] - dots[i][c]; where it is below best[c], it goes there and first + i to code[c]
  // (an unsigned number's bits kept as a float's: never computed with).
  void (*nearest)(const float* dots, const float* half_norms, int64_t count, int64_t width, uint32_t first, float* best,
                  float* code);

  // best[c] = max over i of table[codes[i]][c], or -inf where count is 0; every code is a row of the table.
  void (*gather_max)(const float* table, const uint32_t* codes, int64_t count, int64_t width, float* best);

  // float16 to float32.
  void (*widen)(const uint16_t* half, int64_t count, float* out);

  // out[i][d] = bases[codes[i]][d] + scales[i] * level; without bases the first term is 0.
  // table: 256 levels, the 2^nbits real ones repeated.
  void (*unpack)(const uint8_t* packed, const uint16_t* scales, const uint32_t* codes, const float* bases, int64_t count,
                 int64_t dim, int nbits, const float* table, float* out);

  // numbers[d] = how many of the `count` rising boundaries lie below values[d] * factor.
  void (*bucket)(const float* values, float factor, int64_t dim, const float* boundaries, int count, uint8_t* numbers);

  // First i >= begin with scores[i] >= threshold, or count.
  int64_t (*find)(const float* scores, int64_t begin, int64_t count, float threshold);
};

const Simd& simd(const char* name);  // throws Refused for a name that is not in simd_names()

}  // namespace flmr
