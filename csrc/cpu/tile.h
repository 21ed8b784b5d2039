// The parts that the MaxSim kernels and assign share: rows packed for the vector unit, and the walk over ragged items
// a tile at a time.

#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "../kernels.h"
#include "simd/simd.h"

namespace flmr {

// Scratch memory on a cache line, not initialised; it lives as long as one worker.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : data_(static_cast<T*>(::operator new(sizeof(T) * static_cast<size_t>(count > 0 ? count : 1), kLine))) {}
  ~Buffer() { ::operator delete(data_, kLine); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return data_; }

 private:
  static constexpr std::align_val_t kLine{64};
  T* data_;
};

inline const void* row_at(const Rows& rows, int64_t row) {
  return static_cast<const char*>(rows.data) + row * rows.dim * (rows.half ? 2 : 4);
}

// Rows `begin` .. `end` of float16 or float32 vectors as float32, into `out`.
inline void copy_rows(const Simd& simd, const Rows& rows, int64_t begin, int64_t end, float* out) {
  const int64_t count = (end - begin) * rows.dim;
  if (rows.half)
    simd.widen(static_cast<const uint16_t*>(row_at(rows, begin)), count, out);
  else
    std::memcpy(out, row_at(rows, begin), static_cast<size_t>(count) * sizeof(float));
}

// How vectors are multiplied: a row of `dim` values is stored in `cells` cells of 32 bits.
class Product {
 public:
  Product(const Simd& simd, int64_t dim, Precision precision = Precision::kFloat32)
      : simd(simd), rounded(precision == Precision::kBfloat16),
        cells(rounded ? (dim + simd.values_in_cell - 1) / simd.values_in_cell : dim) {}

  void load(const Rows& rows, int64_t begin, int64_t end, float* out) const {
    if (!rounded) return copy_rows(simd, rows, begin, end, out);
    simd.round_rows(row_at(rows, begin), rows.half, end - begin, rows.dim, out);
  }

  void dots(const float* panel, int64_t width, const float* tile, int64_t tokens, float* out) const {
    const auto multiply = rounded ? simd.round_dots : simd.dots;
    multiply(panel, static_cast<int>(width / simd.lanes), tile, tokens, cells, out);
  }

  const Simd& simd;
  const bool rounded;
  const int64_t cells;
};

// Up to `capacity` rows, transposed into panels as Product::dots wants them.  Lanes beyond the rows hold zeros.
class Panels {
 public:
  Panels(const Product& product, int64_t capacity)
      : product_(product), data_(padded_to(capacity) * product.cells), row_(product.cells) {}

  void pack(const Rows& rows, int64_t begin, int64_t end) {
    const int64_t cells = product_.cells;
    count_ = end - begin;
    std::memset(data_.get(), 0, static_cast<size_t>(padded() * cells) * sizeof(float));
    for (int64_t r = 0; r < count_; ++r) {
      product_.load(rows, begin + r, begin + r + 1, row_.get());
      const int64_t panel = r / width() * width();
      const int64_t stride = lanes_from(panel);
      float* place = data_.get() + panel * cells + (r - panel);
      for (int64_t c = 0; c < cells; ++c) place[c * stride] = row_.get()[c];
    }
  }

  int64_t padded() const { return padded_to(count_); }
  int64_t width() const { return static_cast<int64_t>(product_.simd.lanes) * product_.simd.panel_vectors; }

  // Calls use(panel, first row, rows in it) for each panel.
  template <class Use>
  void each(Use use) const {
    for (int64_t first = 0; first < padded(); first += width())
      use(data_.get() + first * product_.cells, first, lanes_from(first));
  }

 private:
  int64_t padded_to(int64_t rows) const {
    return (rows + product_.simd.lanes - 1) / product_.simd.lanes * product_.simd.lanes;
  }
  int64_t lanes_from(int64_t first) const { return padded() - first < width() ? padded() - first : width(); }

  const Product& product_;
  int64_t count_ = 0;
  Buffer<float> data_, row_;
};

// 12 KB of vectors, in whole numbers of what dots takes at a time: they stay in a first-level cache beside the rows of a
// panel, and the next ones, asked for meanwhile, are not so many that asking stalls.
inline int64_t tile_tokens(int64_t cells) {
  const int64_t fit = 3072 / cells;
  return fit >= 96 ? 96 : fit >= 24 ? fit / 24 * 24 : fit >= 12 ? 12 : 6;
}

// Bytes that a row of `dim` bytes takes in a tile: whole cache lines.
inline int64_t padded_bytes(int64_t dim) { return (dim + 63) / 64 * 64; }

inline double sum(const float* values, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += values[i];
  return total;
}

// The walk over ragged items: fills a tile with the vectors of one or many items, multiplies it with all panels, takes
// the maximum of each item and row.  Items may be longer or shorter than a tile.
class MaxWalk {
 public:
  MaxWalk(const Product& product, const Panels& panels, const Rows& vectors)
      : product_(product), panels_(panels), vectors_(vectors), capacity_(tile_tokens(product.cells)),
        tile_(capacity_ * product.cells), dots_(capacity_ * panels.width()), best_(capacity_ * panels.padded()),
        parts_(capacity_) {}

  // range(i, begin, end) tells which vectors item i has; emit(i, best) takes the maximum of each row, or null for an
  // item without vectors.
  template <class Range, class Emit>
  void run(int64_t first, int64_t last, Range range, Emit emit) {
    for (int64_t item = first; item < last; ++item) {
      int64_t begin, end;
      range(item, begin, end);
      if (begin == end) emit(item, static_cast<const float*>(nullptr));
      for (bool starts = true; begin < end; starts = false) {
        const int64_t room = capacity_ - filled_;
        const int64_t stop = end - begin < room ? end : begin + room;
        product_.load(vectors_, begin, stop, tile_.get() + filled_ * product_.cells);
        parts_.get()[num_parts_++] = {item, filled_, stop - begin, starts, stop == end};
        filled_ += stop - begin;
        begin = stop;
        if (filled_ == capacity_) {
          announce(item, begin, end, last, range);
          flush(emit);
        }
      }
    }
    flush(emit);
  }

 private:
  struct Part {  // the vectors of one item in this tile
    int64_t item, first, count;
    bool starts, ends;
  };

  // Asks for the memory of the next tile, so that it comes while this one is multiplied.
  template <class Range>
  void announce(int64_t item, int64_t begin, int64_t end, int64_t last, Range& range) {
    for (int64_t room = capacity_;;) {
      const int64_t count = end - begin < room ? end - begin : room;
      const char* stop = static_cast<const char*>(row_at(vectors_, begin + count));
      for (const char* line = static_cast<const char*>(row_at(vectors_, begin)); line < stop; line += 64)
        __builtin_prefetch(line, 0, 2);
      room -= count;
      if (room == 0 || ++item == last) return;
      range(item, begin, end);
    }
  }

  template <class Emit>
  void flush(Emit& emit) {
    const int64_t padded = panels_.padded();
    panels_.each([&](const float* panel, int64_t first_row, int64_t width) {
      product_.dots(panel, width, tile_.get(), filled_, dots_.get());
      for (int64_t p = 0; p < num_parts_; ++p) {
        const Part& part = parts_.get()[p];
        float* best = best_.get() + p * padded + first_row;
        if (part.starts)
          for (int64_t c = 0; c < width; ++c) best[c] = -std::numeric_limits<float>::infinity();
        product_.simd.max_into(dots_.get() + part.first * width, part.count, width, best);
      }
    });
    for (int64_t p = 0; p < num_parts_; ++p) {
      const float* best = best_.get() + p * padded;
      if (parts_.get()[p].ends)
        emit(parts_.get()[p].item, best);
      else  // only the last part can be unfinished; it goes on as the first part of the next tile
        std::memmove(best_.get(), best, static_cast<size_t>(padded) * sizeof(float));
    }
    filled_ = num_parts_ = 0;
  }

  const Product& product_;
  const Panels& panels_;
  const Rows vectors_;
  const int64_t capacity_;
  int64_t filled_ = 0, num_parts_ = 0;
  Buffer<float> tile_, dots_, best_;
  Buffer<Part> parts_;
};

// The vectors of an item whose number and offsets come from a file.
inline void checked_range(const int64_t* offsets, int64_t num_items, int64_t num_vectors, uint32_t item, int64_t& begin,
                          int64_t& end) {
  if (item >= num_items)
    throw Refused("item " + std::to_string(item) + " is not below " + std::to_string(num_items));
  begin = offsets[item];
  end = offsets[item + 1];
  if (begin < 0 || end < begin || end > num_vectors)
    throw Refused("the offsets of item " + std::to_string(item) + " are " + std::to_string(begin) + " and " +
                  std::to_string(end) + ": they must rise from 0 to " + std::to_string(num_vectors));
}

inline void check_codes(const Simd& simd, const uint16_t* codes, int64_t begin, int64_t end, int64_t num_centroids) {
  const uint32_t largest = simd.most_code(codes + begin, end - begin);
  if (largest >= num_centroids && begin < end)
    throw Refused("code " + std::to_string(largest) + " is not below the " + std::to_string(num_centroids) +
                  " centroids");
}

}  // namespace flmr
