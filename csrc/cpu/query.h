// A query as bytes: each row as two int8 numbers a dimension, in blocks laid out for the byte loops.
//
// Row r is step[r] * (high + low / 254): high is the nearest whole multiple of the step, low what is left in 254ths.

#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "tile.h"

namespace flmr {

constexpr int kBlockRows = 32;
constexpr Span kWhole = {0, kBlockRows}, kFirstHalf = {0, kBlockRows / 2};
constexpr float kLowShare = 1.0f / 254.0f;

inline int8_t whole(float value) { return static_cast<int8_t>(std::clamp(std::nearbyint(value), -127.0f, 127.0f)); }

// The step of a row; 0, and nothing written, for a row of zeros.
inline float round_row(const float* row, int64_t dim, int8_t* high, int8_t* low) {
  float most = 0;
  for (int64_t d = 0; d < dim; ++d) most = std::max(most, std::fabs(row[d]));
  const float step = most / 127.0f;
  if (!(step > 0)) return 0;
  for (int64_t d = 0; d < dim; ++d) {
    const float value = row[d] / step;
    high[d] = whole(value);
    if (low) low[d] = whole((value - std::nearbyint(value)) * 254.0f);
  }
  return step;
}

// A query as it is, with both numbers, in blocks of 32 rows: for scores.
class ByteQuery {
 public:
  ByteQuery(const Simd& simd, const float* query, int64_t rows, int64_t dim)
      : rows_(rows), dim_(dim), blocks_((rows + kBlockRows - 1) / kBlockRows), size_(simd.byte_panel_size(dim)),
        high_(blocks_ * size_), low_(blocks_ * size_), steps_(static_cast<size_t>(blocks_ * kBlockRows)),
        high_start_(steps_.size()), low_start_(steps_.size()) {
    std::vector<int8_t> high(static_cast<size_t>(kBlockRows * dim)), low(high.size());
    for (int64_t b = 0; b < blocks_; ++b) {
      std::fill(high.begin(), high.end(), int8_t{0});
      std::fill(low.begin(), low.end(), int8_t{0});
      for (int64_t r = 0; r < kBlockRows && b * kBlockRows + r < rows; ++r)
        take_row(query + (b * kBlockRows + r) * dim, static_cast<size_t>(b * kBlockRows + r), &high[static_cast<size_t>(r * dim)],
                 &low[static_cast<size_t>(r * dim)]);
      simd.pack_bytes(high.data(), dim, high_.get() + b * size_);
      simd.pack_bytes(low.data(), dim, low_.get() + b * size_);
    }
  }

  float step(int64_t row) const { return steps_[static_cast<size_t>(row)]; }

  // The first byte of each dimension of a row, plus 128: a token that the same row of another query may meet.
  void high_row(int64_t row, const float* values, uint8_t* out) const {
    if (!(step(row) > 0)) return;
    for (int64_t d = 0; d < dim_; ++d) out[d] = static_cast<uint8_t>(whole(values[d] / step(row)) + 128);
  }

  int64_t rows() const { return rows_; }
  int64_t blocks() const { return blocks_; }
  int64_t rows_in(int64_t block) const { return std::min<int64_t>(kBlockRows, rows_ - block * kBlockRows); }
  const uint8_t* high(int64_t block) const { return high_.get() + block * size_; }
  const uint8_t* low(int64_t block) const { return low_.get() + block * size_; }
  const float* steps(int64_t block) const { return &steps_[static_cast<size_t>(block * kBlockRows)]; }
  // Tokens come as level + 128: what 128 times a row's sum adds is taken away at the start.
  const int32_t* high_start(int64_t block) const { return &high_start_[static_cast<size_t>(block * kBlockRows)]; }
  const int32_t* low_start(int64_t block) const { return &low_start_[static_cast<size_t>(block * kBlockRows)]; }

 private:
  void take_row(const float* row, size_t place, int8_t* high, int8_t* low) {
    steps_[place] = round_row(row, dim_, high, low);
    for (int64_t d = 0; d < dim_; ++d) {
      high_start_[place] -= 128 * high[d];
      low_start_[place] -= 128 * low[d];
    }
  }

  const int64_t rows_, dim_, blocks_, size_;
  Buffer<uint8_t> high_, low_;
  std::vector<float> steps_;
  std::vector<int32_t> high_start_, low_start_;
};

// Merged rows with the first number alone, in blocks of 8 where there are no more and of 16 otherwise: for estimates.
inline int few_rows(int64_t rows) { return rows <= 8 ? 8 : 16; }

class FewQuery {
 public:
  FewQuery(const Simd& simd, const float* query, int64_t rows, int64_t dim)
      : width_(few_rows(rows)), blocks_((rows + width_ - 1) / width_), size_(simd.few_panel_size(width_, dim)),
        panels_(blocks_ * size_), steps_(static_cast<size_t>(blocks_ * width_)) {
    std::vector<int8_t> high(static_cast<size_t>(width_ * dim));
    for (int64_t b = 0; b < blocks_; ++b) {
      std::fill(high.begin(), high.end(), int8_t{0});
      for (int64_t r = 0; r < width_ && b * width_ + r < rows; ++r)
        steps_[static_cast<size_t>(b * width_ + r)] =
            round_row(query + (b * width_ + r) * dim, dim, &high[static_cast<size_t>(r * dim)], nullptr);
      simd.pack_few(high.data(), width_, dim, panels_.get() + b * size_);
    }
  }

  int width() const { return width_; }  // rows of a block
  int64_t blocks() const { return blocks_; }
  const uint8_t* panel(int64_t block) const { return panels_.get() + block * size_; }
  const float* steps(int64_t block) const { return &steps_[static_cast<size_t>(block * width_)]; }

 private:
  const int width_;
  const int64_t blocks_, size_;
  Buffer<uint8_t> panels_;
  std::vector<float> steps_;
};

}  // namespace flmr
