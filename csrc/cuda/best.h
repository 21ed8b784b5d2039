// Running maxima of query rows over the columns of a document, and what becomes of them at its end: winners, and sums
// over the rows of each query in an order that depends on the query alone; and the loop over the slabs of all documents
// of a block.  Knows the layout of mma's and wgmma's results, not how they are made.

#pragma once

#include "stream.h"

constexpr int kNoIndex = INT32_MAX;

// This thread's 2 * kBands rows: band i holds rows 16i + lane / 4 and, 8 rows on, another.
template <int kBands>
struct Best {
  float value[kBands * 2];
  int index[kBands * 2];

  __device__ void reset() {
    for (int i = 0; i < kBands * 2; ++i) value[i] = -INFINITY, index[i] = kNoIndex;
  }
};

// What happens to a tile's dot products before they are compared, each with what stands before it.  As products are
// made in 16 x 8 x 16 at a time and compared one by one, a single instruction more for each of them is felt.
enum Extra { kNothing, kHidden, kBias, kScales };

// Takes in a tile's dot products.  column_of(j): the first of the eight columns of sums[.][j], rising with j.  A NaN
// stays NaN.  Winners are found by "greater than", so a row whose products are all NaN or -inf has none yet: see
// `finish`.
template <bool winners, Extra extra, int kRows, int kWarpsAcross, int kBands, int kGroups, class Sum, class ColumnOf>
__device__ __forceinline__ void fold_with(Best<kBands>& best, const Sum (&sums)[kBands][kGroups][4],
                                          ColumnOf column_of, const Job& job,
                                          const SmallShared<kRows, kWarpsAcross>& small, int stage,
                                          int first_query_row) {
  const SlabInfo& info = small.info[stage];
  const int lane = threadIdx.x % 32, rows = info.rows, first_row = info.first_row;
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
    const int first = column_of(j), column = first + lane % 4 * 2;
    if (extra != kNothing && first >= rows) continue;
    const uint32_t counts = extra == kNothing ? 0 : info.counts[first / 32] >> column % 32;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const bool hidden = extra != kNothing && !(counts >> e & 1);
#pragma unroll
      for (int i = 0; i < kBands * 2; ++i) {
        float value = static_cast<float>(sums[i / 2][j][i % 2 * 2 + e]);
        if (extra == kScales) {
          if (job.queries.scales) value *= small.query_scale[first_query_row + i / 2 * 16 + i % 2 * 8 + lane / 4];
          if (job.documents.scales) value *= small.scale[stage][column + e];
        }
        if (extra == kBias || (extra == kScales && job.bias)) value -= small.bias[stage][column + e];
        if (hidden) value = -INFINITY;
        if (winners && value > best.value[i]) best.index[i] = first_row + column + e;
        best.value[i] = greater(best.value[i], value);
      }
    }
  }
}

template <bool winners, int kRows, int kWarpsAcross, int kBands, int kGroups, class Sum, class ColumnOf>
__device__ __forceinline__ void fold(Best<kBands>& best, const Sum (&sums)[kBands][kGroups][4], ColumnOf column_of,
                                     const Job& job, const SmallShared<kRows, kWarpsAcross>& small, int stage,
                                     int first_query_row) {
  uint32_t all = 0xffffffffu;
  for (int w = 0; w < kTileRows / 32; ++w) all &= small.info[stage].counts[w];
  if (job.queries.scales || job.documents.scales)
    fold_with<winners, kScales>(best, sums, column_of, job, small, stage, first_query_row);
  else if (job.bias) fold_with<winners, kBias>(best, sums, column_of, job, small, stage, first_query_row);
  else if (all != 0xffffffffu) fold_with<winners, kHidden>(best, sums, column_of, job, small, stage, first_query_row);
  else fold_with<winners, kNothing>(best, sums, column_of, job, small, stage, first_query_row);
}

struct Winner {
  float value;
  int index;

  __device__ void meet(float other, int other_index) {
    if (other > value || (other == value && other_index < index)) index = other_index;
    value = greater(value, other);
  }
};

// The winner of a query row among all columns.
template <int kRows, int kWarpsAcross>
__device__ Winner winner_of(const SmallShared<kRows, kWarpsAcross>& small, int buffer, int row) {
  Winner winner{small.value[buffer][0][row], small.index[buffer][0][row]};
  for (int w = 1; w < kWarpsAcross; ++w) winner.meet(small.value[buffer][w][row], small.index[buffer][w][row]);
  return winner;
}

// Writes what a document gave the tile's queries.  All threads come here together; one barrier.  across: which share of
// the columns this warp had.  counted: whether any row of the document counts.
template <bool winners, int kRows, int kWarpsAcross, int kThreads, int kBands>
__device__ void finish(const Best<kBands>& best, const Job& job, SmallShared<kRows, kWarpsAcross>& small, int buffer,
                       int first_query_row, int across, int64_t first_query, int64_t column, bool counted) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kBands * 2; ++i) {
    Winner winner{best.value[i], best.index[i]};
    for (int step = 1; step < 4; step *= 2) {
      const float other = shuffle_xor(winner.value, step);
      winner.meet(other, winners ? shuffle_xor(winner.index, step) : kNoIndex);
    }
    if (lane % 4 == 0) {
      const int row = first_query_row + i / 2 * 16 + i % 2 * 8 + lane / 4;
      small.value[buffer][across][row] = winner.value;
      small.index[buffer][across][row] = winner.index;
    }
  }
  barrier();

  if (winners) {
    for (int row = threadIdx.x; row < kRows; row += kThreads) {
      const int64_t number = small.row[row];
      if (number == kNoRow) continue;
      const Winner winner = winner_of(small, buffer, row);
      const int64_t place = (number < 0 ? ~number : number) * job.columns + column;
      int index = number < 0 || !counted ? -1 : winner.index;
      if (index == kNoIndex) {  // nothing was greater than -inf: the first row that counts
        index = 0;
        const int64_t begin = bounds_of(job.documents, first_query * job.per_query + column).begin;
        while (job.documents.mask && !job.documents.mask[begin + index]) ++index;
      }
      if (job.winner_bytes == 2) static_cast<int16_t*>(job.winners)[place] = static_cast<int16_t>(index);
      else static_cast<int32_t*>(job.winners)[place] = index;
      if (job.maxima) job.maxima[place] = winner.value;
    }
  }
  if (!job.sums) return;

  // A query's rows are added 32 at a time, each 32 as a tree, whichever slot or tile it has.  `width` lanes take a
  // slot.
  int width = 1;
  while (width < 32 && width < job.slot) width *= 2;
  const int slots_at_once = kThreads / width, place = threadIdx.x % width;
  for (int64_t first = threadIdx.x / 32 * 32 / width; first < job.queries_per_tile; first += slots_at_once) {
    const int64_t slot = first + threadIdx.x % 32 / width, query = first_query + slot;
    float total = 0.0f;
    for (int64_t from = 0; from < job.slot; from += width) {
      float value = 0.0f;
      if (slot < job.queries_per_tile && from + place < job.slot) {
        const int row = static_cast<int>(slot * job.slot + from + place);
        if (small.row[row] >= 0) value = winner_of(small, buffer, row).value;
      }
      for (int step = width / 2; step; step /= 2) value += shuffle_xor(value, step);
      total += value;
    }
    if (place == 0 && slot < job.queries_per_tile && query < job.queries.items) {
      const int64_t line = job.tiles_per_query > 1 ? int64_t(blockIdx.x) : query;
      job.sums[line * job.sums_stride + column - job.first] = counted ? total : -INFINITY;
    }
  }
}

// All documents of a block, slab after slab.  multiply takes a slab into `sums`, where the first slab of a tile begins
// anew: multiply.settle() is what copies need besides the barrier before they are multiplied, multiply.begin(info,
// queries, documents) may start and multiply.end(info, queries, documents) has it done; the next slab is sent for in
// between.
template <bool winners, int kRows, int kWarpsAcross, int kThreads, int kBands, int kGroups, class Sum, class ColumnOf,
          class Multiply>
__device__ __forceinline__ void each_slab(Stream<kRows, kWarpsAcross, kThreads>& stream, const Job& job,
                                          Sum (&sums)[kBands][kGroups][4], int first_query_row, int across,
                                          ColumnOf column_of, Multiply multiply) {
  auto& small = stream.small;
  Best<kBands> best;
  best.reset();
  bool counted = false;
  int buffer = 0;
#pragma unroll 1
  for (int stage = 0; stage < kStages - 1; ++stage) {
    stream.send(stage);
    copy_commit();
    stream.settle();
  }
  for (int sent = kStages - 1, stage = 0;;) {
    copy_wait<kStages - 2>();
    multiply.settle();
    barrier();
    const SlabInfo& info = small.info[stage];
    if (info.rows < 0) break;
    multiply.begin(info, stream.query(stage, info.slab), stream.tile(stage));
    stream.send(sent);  // where the slab was that was multiplied before the barrier
    copy_commit();
    sent = sent + 1 == kStages ? 0 : sent + 1;
    multiply.end(info, stream.query(stage, info.slab), stream.tile(stage));
    if (info.last_slab) {
      fold<winners>(best, sums, column_of, job, small, stage, first_query_row);
      for (int w = 0; w < kTileRows / 32; ++w) counted |= info.counts[w] != 0;
      if (info.last_tile) {
        finish<winners, kRows, kWarpsAcross, kThreads>(best, job, small, buffer, first_query_row, across,
                                                       stream.first_query, info.column, counted);
        best.reset();
        counted = false;
        buffer ^= 1;
      }
    }
    stream.settle();
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  copy_wait<0>();
}
