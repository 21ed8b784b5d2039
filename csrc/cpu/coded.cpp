// MaxSim of one query against chosen items, from their codes: levels are unpacked to bytes in the first-level cache,
// multiplied with the query's bytes and forgotten.

#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "levels.h"
#include "query.h"
#include "threads.h"

namespace flmr {
namespace {

constexpr int64_t kTile = 48;  // vectors multiplied together

// What one thread works with.
class Scorer {
 public:
  Scorer(const Simd& isa, const ByteQuery& query, const float* table, const Codebook& book, const Levels& levels,
         const Coded& vectors)
      : isa_(isa), query_(query), table_(table), book_(book), levels_(levels), vectors_(vectors),
        stride_(padded_bytes(book.dim)), row_bytes_((book.dim * book.nbits + 7) / 8), tile_(kTile * stride_),
        centroids_(table ? 0 : kTile * stride_), dots_(2 * kTile * kBlockRows),
        bases_(table ? 0 : kTile * kBlockRows), best_(query.blocks() * kBlockRows) {
    std::memset(tile_.get(), 0, static_cast<size_t>(kTile * stride_));
    if (!table) std::memset(centroids_.get(), 0, static_cast<size_t>(kTile * stride_));
    for (uint16_t i = 0; i < kTile; ++i) in_order_[i] = i;
  }

  // Asks for what the next item's score will read.
  void announce(uint32_t item) const {
    if (item >= vectors_.items) return;
    const int64_t begin = vectors_.offsets[item], end = vectors_.offsets[item + 1];
    if (begin < 0 || end <= begin || end > vectors_.count) return;
    const int64_t some = std::min<int64_t>(end - begin, kTile);
    fetch(vectors_.codes + begin, some * 2);
    fetch(vectors_.scales + begin, some);
    fetch(vectors_.packed + begin * row_bytes_, some * row_bytes_);
  }

  float score(uint32_t item) {
    int64_t begin, end;
    checked_range(vectors_.offsets, vectors_.items, vectors_.count, item, begin, end);
    if (begin == end) return -std::numeric_limits<float>::infinity();
    check_codes(isa_, vectors_.codes, begin, end, book_.num_centroids);
    std::fill_n(best_.get(), query_.blocks() * kBlockRows, -std::numeric_limits<float>::infinity());
    for (int64_t first = begin; first < end; first += kTile) multiply(first, std::min(kTile, end - first));
    double total = 0;
    for (int64_t r = 0; r < query_.rows(); ++r) total += best_.get()[r];
    return static_cast<float>(total);
  }

 private:
  // A tile of vectors with all query rows.
  void multiply(int64_t first, int64_t count) {
    const uint16_t* codes = vectors_.codes + first;
    float scales[kTile], centroid_scales[kTile];
    for (int64_t i = 0; i < count; ++i) scales[i] = book_.scales[vectors_.scales[first + i]];
    isa_.level_rows(vectors_.packed + first * row_bytes_, count, book_.dim, book_.nbits, levels_.table(),
                    levels_.wide(), stride_, tile_.get());
    if (!table_) load_centroids(codes, count, centroid_scales);
    for (int64_t block = 0; block < query_.blocks(); ++block) {
      const Span rows = query_.rows_in(block) <= kBlockRows / 2 ? kFirstHalf : kWhole;
      const float* bases = table_ + block * book_.num_centroids * kBlockRows;
      if (!table_) {
        const int32_t* low = products(block, kWhole, centroids_.get(), count);
        isa_.byte_scores(dots_.get(), low, kLowShare, query_.steps(block), centroid_scales, count, bases_.get());
        bases = bases_.get();
      }
      const int32_t* low = products(block, rows, tile_.get(), count);
      isa_.byte_best(dots_.get(), low, kLowShare, query_.steps(block), scales, bases, table_ ? codes : in_order_,
                     count, rows, best_.get() + block * kBlockRows);
    }
  }

  const int32_t* products(int64_t block, Span rows, const uint8_t* tile, int64_t count) {
    int32_t* low = dots_.get() + kTile * kBlockRows;
    isa_.byte_dots(query_.high(block), query_.high_start(block), tile, stride_, count, book_.dim, rows, dots_.get());
    isa_.byte_dots(query_.low(block), query_.low_start(block), tile, stride_, count, book_.dim, rows, low);
    return low;
  }

  // The vectors' own centroids, where so few vectors are wanted that a table of all centroids would cost more.
  void load_centroids(const uint16_t* codes, int64_t count, float* scales) {
    for (int64_t i = 0; i < count; ++i) {
      const int8_t* centroid = book_.centroids + codes[i] * book_.dim;
      scales[i] = book_.centroid_scales[codes[i]];
      for (int64_t d = 0; d < book_.dim; ++d)
        centroids_.get()[i * stride_ + d] = static_cast<uint8_t>(centroid[d] + 128);
    }
  }

  const Simd& isa_;
  const ByteQuery& query_;
  const float* const table_;
  const Codebook& book_;
  const Levels& levels_;
  const Coded& vectors_;
  const int64_t stride_, row_bytes_;
  Buffer<uint8_t> tile_, centroids_;
  Buffer<int32_t> dots_;
  Buffer<float> bases_, best_;
  uint16_t in_order_[kTile];
};

}  // namespace

void score_codes(const float* query, int64_t rows, const float* table, const Codebook& book, const Coded& vectors,
                 const uint32_t* items, int64_t wanted, float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  const ByteQuery bytes(isa, query, rows, book.dim);
  const Levels levels(book.levels, book.nbits);
  const auto item = [&](int64_t i) { return items ? items[i] : static_cast<uint32_t>(i); };
  const int64_t step = std::clamp<int64_t>(wanted / (static_cast<int64_t>(run.threads) * 8), 1, 64);
  share((wanted + step - 1) / step, run.threads, [&](Units& units) {
    Scorer scorer(isa, bytes, table, book, levels, vectors);
    for (int64_t unit; units.take(unit);)
      for (int64_t i = unit * step; i < std::min(wanted, (unit + 1) * step); ++i) {
        if (i + 1 < wanted) scorer.announce(item(i + 1));
        scores[i] = scorer.score(item(i));
      }
  });
}

}  // namespace flmr
