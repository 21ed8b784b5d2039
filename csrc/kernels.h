// The contract of the native side: plain functions on pointers and sizes.
//
// Legend: T packed vectors of N items, D dim, Q query rows, K centroids, L = 2^nbits levels, P bytes a packed residual.
// All matrices are in row order.  Item i owns the vectors offsets[i] .. offsets[i+1].  What a caller cannot know to be
// sound (items, offsets and codes come from files) is checked before it is used as an address: Refused is thrown.
// Results are the same for any number of threads and for any other items in the same call.
// No Python, no torch, no files here.

#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace flmr {

struct Refused : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Rows of float32 or float16.
struct Rows {
  const void* data;
  bool half;
  int64_t count;  // rows
  int64_t dim;
};

struct Ragged {
  Rows rows;
  const int64_t* offsets;  // [items + 1]
  int64_t items;
};

// What codes mean: vector = centroid_scales[code] * centroids[code] + scales[scale] * levels.
struct Codebook {
  const int8_t* centroids;       // [K][D]
  const float* centroid_scales;  // [K]
  const float* scales;           // [256]
  const int8_t* levels;          // [64], by the window of a row's bit stream; unused at 8 bits
  int64_t num_centroids, dim;
  int nbits;
};

// Vectors as codes, of items.
struct Coded {
  const uint16_t* codes;   // [T]
  const uint8_t* packed;   // [T][P]; null where only the codes are looked at
  const uint8_t* scales;   // [T]
  const int64_t* offsets;  // [N + 1]
  int64_t count, items;
};

// A merged query's scores with all centroids, rounded to bytes, in blocks of `width` rows (8 or 16); and how they make a rough score:
// base + factor * the sum over rows of weight * best byte.
struct ByteTable {
  const uint8_t* bytes;    // [blocks][K][width]
  const uint8_t* bonus;    // [256], what a vector's scale adds
  const int16_t* weights;  // [blocks][width], 0 for rows that are not there
  int64_t blocks, num_centroids;
  int width;
  float factor, base;
};

// What products are made of: the values themselves, or both sides rounded to bfloat16.  Sums are of float32 either way.
// Rounded, results may differ in their last bits between instruction sets.
enum class Precision { kFloat32, kBfloat16 };

// How to run: an instruction set of simd_names() and a number of threads.
struct Run {
  const char* isa;
  int threads;
};

std::vector<std::string> simd_names();  // what this processor has of what is compiled in, slowest first

// scores[query][document]; a document without rows scores -inf, a query without rows 0 against the others.
void maxsim(const Ragged& queries, const Ragged& documents, float* scores, Precision precision, Run run);

// Nearest centroid by squared L2, ties to the lower row, and that squared distance.
void assign(const Rows& vectors, const float* centroids, int64_t num_centroids, uint32_t* codes, float* distances,
            Run run);

// The same with vectors and centroids as bytes times a scale each: centroid c is scales[c] * centroids[c][d], a vector is
// rounded to the like here.  Of centroids that are equally near but for that rounding any may win; the distances are to
// the winners.  A vector with NaN or infinity gets row 0.  num_centroids <= 65,536.
void assign_rounded(const Rows& vectors, const int8_t* centroids, const float* scales, int64_t num_centroids,
                    uint16_t* codes, float* distances, Run run);

// Mean of the vectors of each code, zero where there are none, and their number.
void means(const Rows& vectors, const uint16_t* codes, int64_t num_centroids, float* means, int64_t* counts, Run run);

// out[vector][row]: dot products of all with all.
void multiply(const Rows& vectors, const Rows& rows, float* out, Run run);

// Residuals as paths through a trellis, 8 bits as whole numbers; levels: int8 [64], or [256] at 8 bits; spread: the
// standard deviation that the levels were made for; scale_table: [256], rising from 0.
void trellis_quantize(const float* residuals, int64_t count, int64_t dim, const int8_t* levels, int spread, int nbits,
                      const float* scale_table, uint8_t* packed, uint8_t* scales, Run run);
void trellis_unpack(const uint8_t* packed, int64_t count, int64_t dim, int nbits, const int8_t* levels, int8_t* out);
void trellis_dequantize(const uint8_t* packed, const uint8_t* scales, int64_t count, int64_t dim, int nbits,
                        const int8_t* levels, const float* scale_table, float* residuals, Run run);

// Items with ceil(rows / factor) rows each, where pooled_offsets say; `stretch` rows at most are clustered together.
void pool(const Ragged& items, int64_t factor, int64_t stretch, const int64_t* pooled_offsets, float* pooled, Run run);

// Union of the inverted lists of each query row's best centroids: ascending, each item once.  A list is its items'
// gaps as LEB128 numbers.
std::vector<uint32_t> probe(const float* centroid_scores_QK, int64_t rows, int64_t num_centroids,
                            const int64_t* list_offsets, const uint8_t* lists, int64_t list_bytes, int64_t nprobe,
                            int64_t num_items, Run run);

// MaxSim of one query (Q rows of `dim` floats) against `wanted` items.
void score_flat(const float* query, int64_t rows, const Ragged& documents, const uint32_t* items, int64_t wanted,
                float* scores, Precision precision, Run run);

// Sums of rows that point the same way, 8 of them or a whole number of 16 where there are so many; no more is lost than
// the given share of the rows' squared lengths.  Returns how many rows were written.
int64_t merge_rows(const float* query, int64_t rows, int64_t dim, double most_lost, float* merged, const char* isa);

// scores[block][centroid][row of the block], in blocks of 32 rows.
void score_table(const float* query, int64_t rows, const int8_t* centroids, const float* centroid_scales,
                 int64_t num_centroids, int64_t dim, float* scores, Run run);

// The same for a merged query, its rows rounded to one byte a dimension, in a block of 8 rows where there are no more
// and in blocks of 16 otherwise.
void few_table(const float* query, int64_t rows, const int8_t* centroids, const float* centroid_scales,
               int64_t num_centroids, int64_t dim, float* scores, Run run);

// Rounds such scores to bytes 0 .. top, in steps of what is returned times the row's norm; lows: what byte 0 stands for.
float byte_table(const float* scores, const float* norms, int64_t rows, int64_t num_centroids, float top,
                 uint8_t* bytes, float* lows, Run run);

// Rough scores of `wanted` items (items null: all in order): -inf for one without vectors.
void rough(const ByteTable& table, const Coded& vectors, const uint32_t* items, int64_t wanted, float* scores, Run run);

// scores[r * count + i] = row r, rounded to one byte a dimension, times packed vector i of one bit a dimension;
// levels: [64].
void sketch_scores(const float* values, int64_t rows, int64_t dim, const uint8_t* packed, const uint8_t* scales, int64_t count,
                   const int8_t* levels, const float* scale_table, float* scores, Run run);

// About the MaxSim of a merged query against `wanted` items (null: all in order).  table: few_table of the query.
void estimate(const float* query, int64_t rows, const float* table, const Codebook& book, const Coded& vectors,
              const uint32_t* items, int64_t wanted, float* scores, Run run);

// MaxSim of one query against `wanted` items (null: all in order) from their codes.  table: score_table of the query, or
// null.
void score_codes(const float* query, int64_t rows, const float* table, const Codebook& book, const Coded& vectors,
                 const uint32_t* items, int64_t wanted, float* scores, Run run);

// The `count` best scores: rows[], ascending; ties to the lower row; -inf and NaN never.  Returns how many.
int64_t best_rows(const float* scores, int64_t count, int64_t wanted, uint32_t* rows);

// The best k: rows[], best first, ties to the lower rank (to the lower row where ranks is null); -inf and NaN never.
// Returns how many.
int64_t topk(const float* scores, int64_t count, const int64_t* ranks, int64_t k, int64_t* rows, const char* isa);

}  // namespace flmr
