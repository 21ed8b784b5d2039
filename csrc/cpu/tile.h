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

// Rows `begin` .. `end` of float16 or float32 vectors as float32, into `out`.
inline void copy_rows(const Simd& simd, const Rows& rows, int64_t begin, int64_t end, float* out) {
  const int64_t first = begin * rows.dim, count = (end - begin) * rows.dim;
  if (rows.half)
    simd.widen(static_cast<const uint16_t*>(rows.data) + first, count, out);
  else
    std::memcpy(out, static_cast<const float*>(rows.data) + first, static_cast<size_t>(count) * sizeof(float));
}

// Up to `capacity` rows, transposed into panels as Simd::dots wants them.  Lanes beyond the rows hold zeros.
class Panels {
 public:
  Panels(const Simd& simd, int64_t capacity, int64_t dim)
      : simd_(simd), dim_(dim), data_(padded_to(capacity) * dim), row_(dim) {}

  void pack(const Rows& rows, int64_t begin, int64_t end) {
    count_ = end - begin;
    std::memset(data_.get(), 0, static_cast<size_t>(padded() * dim_) * sizeof(float));
    for (int64_t r = 0; r < count_; ++r) {
      copy_rows(simd_, rows, begin + r, begin + r + 1, row_.get());
      const int64_t panel = r / width() * width();
      const int64_t stride = lanes_from(panel);
      float* place = data_.get() + panel * dim_ + (r - panel);
      for (int64_t d = 0; d < dim_; ++d) place[d * stride] = row_.get()[d];
    }
  }

  int64_t padded() const { return padded_to(count_); }
  int64_t width() const { return static_cast<int64_t>(simd_.lanes) * simd_.panel_vectors; }

  // Calls use(panel, first row, rows in it) for each panel.
  template <class Use>
  void each(Use use) const {
    for (int64_t first = 0; first < padded(); first += width())
      use(data_.get() + first * dim_, first, lanes_from(first));
  }

 private:
  int64_t padded_to(int64_t rows) const { return (rows + simd_.lanes - 1) / simd_.lanes * simd_.lanes; }
  int64_t lanes_from(int64_t first) const { return padded() - first < width() ? padded() - first : width(); }

  const Simd& simd_;
  const int64_t dim_;
  int64_t count_ = 0;
  Buffer<float> data_, row_;
};

// 16 KB of vectors: half of a first-level cache, the other half holds a panel.
inline int64_t tile_tokens(int64_t dim) {
  const int64_t fit = 4096 / dim / 6 * 6;
  return fit < 6 ? 6 : fit > 96 ? 96 : fit;
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
  MaxWalk(const Simd& simd, const Panels& panels, int64_t dim)
      : simd_(simd), panels_(panels), dim_(dim), capacity_(tile_tokens(dim)), tile_(capacity_ * dim),
        dots_(capacity_ * panels.width()), best_(capacity_ * panels.padded()), parts_(capacity_) {}

  // range(i, begin, end) tells which vectors item i has; load(begin, end, out) makes them float32;
  // emit(i, best) takes the maximum of each row, or null for an item without vectors.
  template <class Range, class Load, class Emit>
  void run(int64_t first, int64_t last, Range range, Load load, Emit emit) {
    for (int64_t item = first; item < last; ++item) {
      int64_t begin, end;
      range(item, begin, end);
      if (begin == end) emit(item, static_cast<const float*>(nullptr));
      for (bool starts = true; begin < end; starts = false) {
        const int64_t room = capacity_ - filled_;
        const int64_t stop = end - begin < room ? end : begin + room;
        load(begin, stop, tile_.get() + filled_ * dim_);
        parts_.get()[num_parts_++] = {item, filled_, stop - begin, starts, stop == end};
        filled_ += stop - begin;
        begin = stop;
        if (filled_ == capacity_) flush(emit);
      }
    }
    flush(emit);
  }

 private:
  struct Part {  // the vectors of one item in this tile
    int64_t item, first, count;
    bool starts, ends;
  };

  template <class Emit>
  void flush(Emit& emit) {
    const int64_t padded = panels_.padded();
    panels_.each([&](const float* panel, int64_t first_row, int64_t width) {
      simd_.dots(panel, static_cast<int>(width / simd_.lanes), tile_.get(), filled_, dim_, dots_.get());
      for (int64_t p = 0; p < num_parts_; ++p) {
        const Part& part = parts_.get()[p];
        float* best = best_.get() + p * padded + first_row;
        if (part.starts)
          for (int64_t c = 0; c < width; ++c) best[c] = -std::numeric_limits<float>::infinity();
        simd_.max_into(dots_.get() + part.first * width, part.count, width, best);
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

  const Simd& simd_;
  const Panels& panels_;
  const int64_t dim_, capacity_;
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
