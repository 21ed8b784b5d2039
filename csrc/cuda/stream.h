// Document rows on their way through shared memory, a tile of kTileRows rows and 128 bytes (a slab) at a time, copied
// while earlier ones are multiplied, across the ends of documents.  Knows items, rows and masks; nothing of products or
// maxima.

#pragma once

#include "job.h"

constexpr int64_t kNoRow = INT64_MIN;

// One slab of one tile, as the threads that multiply it need to see it.
struct SlabInfo {
  int64_t column;
  int first_row, rows;  // within the document; rows of the tile, -1 after the last
  int slab, bytes;
  bool last_slab, last_tile;        // of its tile, of its document
  uint32_t counts[kTileRows / 32];  // bit r: row r is there and not masked; written with the last slab
};

template <int kRows, int kWarpsAcross>
struct SmallShared {
  SlabInfo info[kStages];
  int64_t row[kRows];  // the tile's query rows: row number, ~number where masked, kNoRow
  float query_scale[kRows];
  float scale[kStages][kTileRows], bias[kStages][kTileRows];
  // Maxima of each warp's share of the columns; two, because one document's are summed while the next is multiplied.
  float value[2][kWarpsAcross][kRows];
  int index[2][kWarpsAcross][kRows];
};

template <int kRows, int kWarpsAcross, int kThreads>
class Stream {
 public:
  using Small = SmallShared<kRows, kWarpsAcross>;

  static __host__ __device__ size_t shared_bytes(const Job& job) {
    return size_t(kStages) * stage_bytes(job) + (job.resident ? size_t(job.slabs) * kRows * kSlabBytes : 0) +
           sizeof(Small);
  }

  // Query rows are looked up and, where they stay, sent for; with the first commit they are there.
  __device__ Stream(const Job& job, unsigned char* memory)
      : small(*reinterpret_cast<Small*>(memory + shared_bytes(job) - sizeof(Small))), job_(job), stages_(memory) {
    const int64_t tile = blockIdx.x;
    first_query = tile / job.tiles_per_query * job.queries_per_tile;
    const int64_t tile_in_query = tile % job.tiles_per_query;
    first_document_ = first_query * job.per_query;
    column_ = job.first + int64_t(blockIdx.y) * job.columns_per_block;
    end_column_ = column_ + job.columns_per_block < job.last ? column_ + job.columns_per_block : job.last;
    if (tile_in_query > 0 && tile_in_query >= tiles_of(job, bounds_of(job.queries, first_query))) end_column_ = column_;
    if (nothing()) return;
    for (int row = threadIdx.x; row < kRows; row += kThreads) {
      small.row[row] = query_row(row, tile_in_query);
      small.query_scale[row] = job.queries.scales && small.row[row] >= 0 ? job.queries.scales[small.row[row]] : 0.0f;
    }
    barrier();
    if (job.resident)
      for (int slab = 0; slab < job.slabs; ++slab) copy_query(resident(slab), slab);
    next_ = bounds_of(job.documents, first_document_ + column_);
    begin_document();
  }

  __device__ bool nothing() const { return column_ >= end_column_; }

  // Sends for the next slab.  Between it and `settle` there is room for a multiplication, while masks arrive.
  __device__ void send(int stage) {
    stage_ = stage;
    SlabInfo& info = small.info[stage];
    if (nothing()) {
      settles_ = false;
      if (threadIdx.x == 0) info.rows = -1;
      return;
    }
    const int rows = left_ < kTileRows ? left_ : kTileRows, bytes = slab_bytes(slab_);
    const bool last_slab = slab_ + 1 == job_.slabs, last_tile = left_ <= kTileRows;
    unsigned char* to = tile(stage);
    copy_documents(to, rows, bytes);
    if (!job_.resident) copy_query(to + kTileRows * kSlabBytes, slab_);
    settles_ = last_slab;
    if (last_slab) {
      const int row = threadIdx.x;
      counts_ = row >= rows ? 0 : job_.documents.mask ? job_.documents.mask[begin_ + row] : 1;
      if (row < rows && job_.documents.scales)
        copy_async<4>(&small.scale[stage][row], job_.documents.scales + begin_ + row, 4);
      if (row < rows && job_.bias) copy_async<4>(&small.bias[stage][row], job_.bias + begin_ + row, 4);
    }
    if (threadIdx.x == 0) {
      info.column = column_;
      info.first_row = first_row_;
      info.rows = rows;
      info.slab = slab_;
      info.bytes = bytes;
      info.last_slab = last_slab;
      info.last_tile = last_tile;
    }
    advance(last_slab, last_tile);
  }

  __device__ void settle() {
    if (!settles_ || threadIdx.x >= kTileRows) return;
    const uint32_t word = vote(counts_ != 0);
    if (threadIdx.x % 32 == 0) small.info[stage_].counts[threadIdx.x / 32] = word;
  }

  __device__ unsigned char* tile(int stage) const { return stages_ + stage * stage_bytes(job_); }
  __device__ unsigned char* query(int stage, int slab) const {
    return job_.resident ? resident(slab) : tile(stage) + kTileRows * kSlabBytes;
  }

  Small& small;
  int64_t first_query;

 private:
  static __host__ __device__ int stage_bytes(const Job& job) {
    return (kTileRows + (job.resident ? 0 : kRows)) * kSlabBytes;
  }
  __device__ unsigned char* resident(int slab) const {
    return stages_ + kStages * stage_bytes(job_) + slab * kRows * kSlabBytes;
  }
  __device__ int slab_bytes(int slab) const {
    const int left = job_.row_bytes - slab * kSlabBytes;
    return left < kSlabBytes ? left : kSlabBytes;
  }

  __device__ int64_t query_row(int row, int64_t tile_in_query) const {
    const int64_t slot = row / job_.slot, query = first_query + slot;
    if (slot >= job_.queries_per_tile || query >= job_.queries.items) return kNoRow;
    const Bounds bounds = bounds_of(job_.queries, query);
    const int64_t number = bounds.begin + tile_in_query * kRows + row % job_.slot;
    if (number >= bounds.end) return kNoRow;
    return job_.queries.mask && !job_.queries.mask[number] ? ~number : number;
  }

  // Eight threads copy a row, 16 bytes each; zeros beyond the row's end.
  static constexpr int kRowsAtOnce = kThreads / 8;
  static_assert(kRowsAtOnce % 8 == 0, "the pieces of all rows of a thread are swapped alike");

  __device__ void copy_documents(unsigned char* to, int rows, int bytes) {
    const Side& side = job_.documents;
    const int row = threadIdx.x / 8, valid = valid_bytes(bytes);
    const unsigned char* from = side.rows + (begin_ + row) * side.step + offset_in_row(slab_, valid);
    to += offset_in_slab(row);
    const int64_t step = side.step * kRowsAtOnce;
    if (side.width == 16 && rows == kTileRows && bytes == kSlabBytes) {  // most tiles, in a third of the instructions
#pragma unroll
      for (int i = 0; i < kTileRows / kRowsAtOnce; ++i)
        copy_async<16>(to + i * kRowsAtOnce * kSlabBytes, from + i * step, 16);
    } else if (side.width == 16) {
#pragma unroll 1
      for (int at = row; at < rows; at += kRowsAtOnce, from += step, to += kRowsAtOnce * kSlabBytes)
        copy_async<16>(to, from, valid);
    } else {
#pragma unroll 1
      for (int at = row; at < rows; at += kRowsAtOnce, from += step, to += kRowsAtOnce * kSlabBytes)
        copy_piece(to, from, valid, side.width);
    }
  }
  __device__ void copy_query(unsigned char* to, int slab) {
    const Side& side = job_.queries;
    const int valid = valid_bytes(slab_bytes(slab));
#pragma unroll 1
    for (int row = threadIdx.x / 8; row < kRows; row += kRowsAtOnce)
      if (small.row[row] >= 0)
        copy_piece(to + offset_in_slab(row), side.rows + small.row[row] * side.step + offset_in_row(slab, valid), valid,
                   side.width);
  }

  __device__ static int valid_bytes(int bytes) {
    const int left = bytes - threadIdx.x % 8 * 16;
    return left > 16 ? 16 : left > 0 ? left : 0;
  }
  __device__ static int offset_in_row(int slab, int valid) {
    return valid ? slab * kSlabBytes + threadIdx.x % 8 * 16 : 0;
  }
  __device__ static int offset_in_slab(int row) { return row * kSlabBytes + (threadIdx.x % 8 ^ row % 8) * 16; }

  __device__ static void copy_piece(unsigned char* to, const unsigned char* from, int valid, int width) {
    if (width == 16) {
      copy_async<16>(to, from, valid);
      return;
    }
#pragma unroll 1
    for (int at = 0; at < 16; at += width) {
      const int some = valid - at > width ? width : valid > at ? valid - at : 0;
      const unsigned char* some_from = some ? from + at : from;
      if (width == 8) copy_async<8>(to + at, some_from, some);
      else if (width == 4) copy_async<4>(to + at, some_from, some);
      else to[at] = some ? *some_from : 0;
    }
  }

  __device__ void advance(bool last_slab, bool last_tile) {
    ++slab_;
    if (!last_slab) return;
    slab_ = 0;
    if (last_tile) {
      ++column_;
      begin_document();
      return;
    }
    begin_ += kTileRows;
    first_row_ += kTileRows;
    left_ -= kTileRows;
  }
  // Bounds are asked for a document early: nobody waits for them.
  __device__ void begin_document() {
    begin_ = next_.begin;
    first_row_ = 0;
    left_ = next_.end > next_.begin ? static_cast<int>(next_.end - next_.begin) : 0;
    if (column_ + 1 < end_column_) next_ = bounds_of(job_.documents, first_document_ + column_ + 1);
  }

  const Job& job_;
  unsigned char* stages_;
  Bounds next_{};
  int64_t column_, end_column_, first_document_;
  int64_t begin_;         // row that the next tile begins with
  int first_row_, left_;  // its number within the document, and how many there are from it on
  int slab_ = 0, stage_ = 0;
  bool settles_ = false;
  int counts_ = 0;  // the mask as it was read: a comparison would wait for it
};
