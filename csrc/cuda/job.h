// What one launch of a forward kernel is told: two sides of rows as bytes, which columns, where the results go.  Knows
// sizes; nothing of how dot products are made.

#pragma once

#include "api.h"
#include "device.h"

constexpr int kTileRows = 128;  // document rows multiplied at a time
constexpr int kStages = 3;      // tiles of one slab in shared memory: two on their way while one is multiplied
constexpr int kMostDim = 8192;
constexpr int kMostResidentSlabs = 4;  // 64 KB of 128 query rows; above it the query is read again with each tile

struct Side {
  const unsigned char* rows;
  int64_t count, step;  // rows, bytes from row to row
  const int64_t *begins, *ends;
  const uint8_t* mask;
  const float* scales;
  int64_t items, longest;
  int width;  // bytes at a time that rows may be copied by: 16, 8 or 4; 1: any address
};

// A column is a document, or with per_query a query's own document.  A tile is tile_rows query rows: of several short
// queries, each in a slot of `slot` rows, or of one long query that has tiles_per_query of them.
struct Job {
  Side queries, documents;
  int row_bytes, slabs;
  bool resident;  // all slabs of the query tile stay in shared memory
  int64_t per_query;
  int tile_rows;  // 32, 64 or 128 query rows
  int64_t slot, queries_per_tile, tiles_per_query;
  int64_t first, last, columns_per_block;  // columns of this launch
  float* sums;  // [queries, or tiles if tiles_per_query > 1][sums_stride], from column `first` on; or null
  int64_t sums_stride;
  void* winners;  // [query rows][columns], int16 or int32; or null
  int winner_bytes;
  float* maxima;  // [query rows][columns] value of the winner; or null
  int64_t columns;
  const float* bias;  // [document rows] taken off each dot product; or null
};

struct Bounds {
  int64_t begin, end;
};

__device__ inline Bounds bounds_of(const Side& side, int64_t item) {
  if (side.begins) return {side.begins[item], side.ends[item]};
  const int64_t begin = item * side.longest, end = begin + side.longest;
  return {begin < side.count ? begin : side.count, end < side.count ? end : side.count};
}

// Number of tiles that a query of so many rows fills; one even if it has none, because an empty document is still
// found.
__device__ inline int64_t tiles_of(const Job& job, const Bounds& query) {
  const int64_t tiles = (query.end - query.begin + job.tile_rows - 1) / job.tile_rows;
  return tiles > 1 ? tiles : 1;
}
