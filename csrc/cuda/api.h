// The C interface of libflmr_cuda.so.  Python mirrors it with ctypes; plain C, no CUDA header.
//
// Every pointer is device memory unless said.  Every call is asynchronous on `stream`, allocates nothing and returns 0,
// a cudaError_t, or one of FlmrRefusal for arguments that it does not take; flmr_cuda_error gives the line for either.

#pragma once

#include <stdint.h>

#define FLMR_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum FlmrType { FLMR_FLOAT32 = 0, FLMR_FLOAT16 = 1, FLMR_BFLOAT16 = 2, FLMR_INT8 = 3, FLMR_FLOAT8_E4M3 = 4 };

enum FlmrRefusal {
  FLMR_REFUSED_SIZES = -1,  // a negative size, a null pointer where there are rows, a stride below dim, dim beyond
                            // 8192, more items of the longest size than a grid has blocks
  FLMR_REFUSED_TYPES = -2,  // an unknown type, or queries and documents of two types or dims
  FLMR_REFUSED_PAIRS = -3,  // per_query > 0, and documents are not queries * per_query
  FLMR_REFUSED_WINNERS = -4,  // winner_bytes neither 2 nor 4, or a document too long for 2; backward without winners
  FLMR_REFUSED_SCRATCH = -5,  // scratch_bytes below the smallest
  FLMR_REFUSED_DEVICE = -6,   // this device cannot: 8-bit floats before compute capability 9.0, wgmma on other than 9.0
  FLMR_REFUSED_GRADIENT = -7,  // no gradient of int8 or 8-bit float rows
};

// Ragged or padded items over one matrix of rows.
struct FlmrItems {
  const void* rows;  // [count][stride] elements, the first dim of each count; any address works, 16 bytes best
  int64_t count, dim, stride;  // rows, dimensions, elements from row to row
  const int64_t* begins;   // [items] first rows; null: item i is the rows i * longest .. (i + 1) * longest, to count
  const int64_t* ends;     // [items] one past its last; null with begins
  const uint8_t* mask;     // [count], 0: this row does not count; or null
  const float* scales;     // [count] multiplies the row's dot products (int8, 8-bit floats); or null
  int64_t items, longest;  // longest: at least the most rows of an item
  int32_t type, pad;       // FlmrType
};

struct FlmrMaxsim {
  struct FlmrItems queries, documents;
  int64_t per_query;  // 0: all pairs; n > 0: query i meets the documents i * n .. (i + 1) * n
  float* scores;      // [queries][documents] or [queries][n]; a document without rows that count: -inf; else a query
                      // without: 0
  void* winners;      // null, or [query rows][documents or n]: the document's row that won, counted from the document's
                  // first, the lowest on ties; -1 where the query row is masked or no row of the document counts; rows
                  // of no query are not written
  int32_t winner_bytes, pad;  // 2 (int16) or 4 (int32)
  void* scratch;              // 16-byte aligned; null if its size is 0
  int64_t scratch_bytes;      // from flmr_cuda_maxsim_scratch; any size from the smallest on gives the same bits
  void* stream;               // cudaStream_t
};

// Host arithmetic on sizes only.  Bytes of scratch for the forward pass: what is wanted, but at most limit_bytes, but
// at least the smallest that works; 0 is common.  Below 0: FlmrRefusal.
FLMR_EXPORT int64_t flmr_cuda_maxsim_scratch(const struct FlmrMaxsim*, int64_t limit_bytes);

FLMR_EXPORT int flmr_cuda_maxsim_forward(const struct FlmrMaxsim*);

// From the winners of a forward pass; args->scores and scratch are not used.  grad_scores has the shape of scores; what
// it holds where there is no winner is ignored, NaN too.  grad_queries [rows][dim] and grad_documents [rows][dim],
// float32, overwritten, 0 for rows that do not count; either may be null.  Items must not overlap.  deterministic: 0
// adds into grad_documents with atomics in any order, 1 walks the winners of each document in order.
FLMR_EXPORT int flmr_cuda_maxsim_backward(const struct FlmrMaxsim*, const float* grad_scores, float* grad_queries,
                                          float* grad_documents, int deterministic);

// codes[i] is the lowest row k of the most x_i . c_k - half_squared_norms[k], best[i] (null: not wanted) that value.
// Both sides are one item over their whole matrix: begins, ends, mask and longest are not read.  half_squared_norms
// null: 0.
FLMR_EXPORT int64_t flmr_cuda_assign_scratch(const struct FlmrItems* rows, const struct FlmrItems* centroids);
FLMR_EXPORT int flmr_cuda_assign(const struct FlmrItems* rows, const struct FlmrItems* centroids,
                                 const float* half_squared_norms, int32_t* codes, float* best, void* scratch,
                                 int64_t scratch_bytes, void* stream);

// Everything in host memory: all queries against all documents, float32 or float16 (half: 1), sent to the device in
// pieces that its free memory holds.  Offsets [items + 1] must be sound.  Waits for the result.
FLMR_EXPORT int flmr_cuda_maxsim(const void* queries, int query_half, const int64_t* query_offsets, int64_t num_queries,
                                 const void* documents, int document_half, const int64_t* document_offsets,
                                 int64_t num_documents, int64_t dim, float* scores);

// Which multiplication the forward pass uses: "mma" (the default: warps, compute capability 8.0 on) or "wgmma"
// (warpgroups, 9.0 only, not for float32, which stays with mma; no device has run it yet).  Sums of 8-bit floats keep
// some 14 bits with wgmma; mma makes 16-bit numbers of them on 9.0, and keeps 24.  For the whole process; the
// environment's FLMR_CUDA_PATH is read once, at the first forward pass before any call of this.  -1 for an unknown
// word.
FLMR_EXPORT int flmr_cuda_set_path(const char* name);
FLMR_EXPORT const char* flmr_cuda_path(void);

FLMR_EXPORT int flmr_cuda_device_count(void);
FLMR_EXPORT const char* flmr_cuda_error(int status);

#ifdef __cplusplus
}
#endif
