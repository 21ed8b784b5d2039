// About the MaxSim of merged query rows with chosen items, from their codes: vectors of several items fill a tile, which
// is multiplied at once and forgotten.

#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "levels.h"
#include "query.h"
#include "threads.h"

namespace flmr {
namespace {

constexpr int64_t kVectors = 96;  // of a tile
constexpr int64_t kStep = 8;      // unpacked before more is asked for

// Part of an item that is in the tile.
struct Piece {
  int64_t first, count, group;
  bool ends;  // the item
};

// Asks for memory bit by bit, as much of it as is read meanwhile: all at once would be more than can be on its way.
class Ahead {
 public:
  void next(const uint8_t* begin, const uint8_t* end) { place_ = begin, end_ = end; }
  void more(int64_t bytes) {
    const uint8_t* stop = std::min(end_, place_ + bytes);
    for (; place_ < stop; place_ += 64) __builtin_prefetch(place_);
  }

 private:
  const uint8_t *place_ = nullptr, *end_ = nullptr;
};

// What one thread works with.
class Estimator {
 public:
  Estimator(const Simd& isa, const FewQuery& query, const float* table, const Codebook& book, const Levels& levels,
            const Coded& vectors, float* scores)
      : isa_(isa), query_(query), table_(table), book_(book), levels_(levels), vectors_(vectors), scores_(scores),
        together_(isa.few_together(query.width())), room_(kVectors / together_),
        stride_(isa.few_stride(query.width(), book.dim)), lanes_(isa.few_width(query.width())),
        row_bytes_((book.dim * book.nbits + 7) / 8), tile_(room_ * stride_), dots_(room_ * lanes_),
        best_(static_cast<size_t>(room_ * rows())), carried_(static_cast<size_t>(rows()), kNothing) {
    std::memset(tile_.get(), 0, static_cast<size_t>(room_ * stride_));
  }

  // What will be added next but one or so: its vectors are asked for while others are read.
  void announce(uint32_t item) {
    if (item >= vectors_.items) return;
    const int64_t begin = vectors_.offsets[item], end = vectors_.offsets[item + 1];
    if (begin < 0 || end <= begin || end > vectors_.count) return;
    fetch(vectors_.codes + begin, (end - begin) * 2);
    fetch(vectors_.scales + begin, end - begin);
    ahead_.next(vectors_.packed + begin * row_bytes_, vectors_.packed + end * row_bytes_);
  }

  void add(uint32_t item, int64_t place) {
    int64_t begin, end;
    checked_range(vectors_.offsets, vectors_.items, vectors_.count, item, begin, end);
    scores_[place] = kNothing;
    if (begin == end) return;
    check_codes(isa_, vectors_.codes, begin, end, book_.num_centroids);
    places_.push_back(place);
    while (begin < end) {
      if (used_ == room_) flush();
      const int64_t count = std::min(end - begin, (room_ - used_) * together_);
      for (int64_t i = 0; i < count; i += kStep) {
        ahead_.more(std::min(kStep, count - i) * row_bytes_);
        isa_.few_levels(vectors_.packed + (begin + i) * row_bytes_, std::min(kStep, count - i), book_.dim, book_.nbits,
                        levels_.table(), levels_.wide(), query_.width(), tile_.get() + (used_ + i / together_) * stride_);
      }
      pieces_.push_back({begin, count, used_, begin + count == end});
      used_ += (count + together_ - 1) / together_;
      begin += count;
    }
  }

  // Multiplies the tile and finishes the items that end in it.
  void flush() {
    std::fill(best_.begin(), best_.end(), kNothing);
    for (int64_t block = 0; block < query_.blocks(); ++block) {
      isa_.few_dots(query_.panel(block), tile_.get(), used_, book_.dim, query_.width(), dots_.get());
      const float* bases = table_ + block * book_.num_centroids * query_.width();
      for (size_t p = 0; p < pieces_.size(); ++p) look(pieces_[p], block, bases, best(p) + block * query_.width());
    }
    size_t done = 0;
    for (size_t p = 0; p < pieces_.size(); ++p) {
      for (int64_t r = 0; r < rows(); ++r) carried(r) = std::max(carried(r), best(p)[r]);
      if (pieces_[p].ends) finish(places_[done++]);
    }
    places_.erase(places_.begin(), places_.begin() + static_cast<int64_t>(done));
    pieces_.clear();
    used_ = 0;
  }

 private:
  static constexpr float kNothing = -std::numeric_limits<float>::infinity();

  int64_t rows() const { return query_.blocks() * query_.width(); }
  float* best(size_t piece) { return &best_[piece * static_cast<size_t>(rows())]; }
  float& carried(int64_t row) { return carried_[static_cast<size_t>(row)]; }

  void look(const Piece& piece, int64_t block, const float* bases, float* best) {
    float scales[kVectors];
    for (int64_t i = 0; i < piece.count; ++i) scales[i] = book_.scales[vectors_.scales[piece.first + i]];
    isa_.few_best(dots_.get() + piece.group * lanes_, query_.steps(block), scales, bases, vectors_.codes + piece.first,
                  piece.count, query_.width(), best);
  }

  void finish(int64_t place) {
    double total = 0;
    for (float& best : carried_) {
      total += best;  // a row that is not there has 0
      best = kNothing;
    }
    scores_[place] = static_cast<float>(total);
  }

  const Simd& isa_;
  const FewQuery& query_;
  const float* const table_;
  const Codebook& book_;
  const Levels& levels_;
  const Coded& vectors_;
  float* const scores_;
  const int64_t together_, room_, stride_, lanes_, row_bytes_;
  Buffer<uint8_t> tile_;
  Buffer<int32_t> dots_;
  std::vector<float> best_, carried_;
  std::vector<Piece> pieces_;
  std::vector<int64_t> places_;  // of items of which a part waits in the tile
  int64_t used_ = 0;
  Ahead ahead_;
};

}  // namespace

void estimate(const float* query, int64_t rows, const float* table, const Codebook& book, const Coded& vectors,
              const uint32_t* items, int64_t wanted, float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  const FewQuery few(isa, query, rows, book.dim);
  const Levels levels(book.levels, book.nbits);
  const auto item = [&](int64_t i) { return items ? items[i] : static_cast<uint32_t>(i); };
  const int64_t step = std::clamp<int64_t>(wanted / (static_cast<int64_t>(run.threads) * 8), 1, 256);
  share((wanted + step - 1) / step, run.threads, [&](Units& units) {
    Estimator estimator(isa, few, table, book, levels, vectors, scores);
    for (int64_t unit; units.take(unit);) {
      for (int64_t i = unit * step; i < std::min(wanted, (unit + 1) * step); ++i) {
        if (i + 1 < wanted) estimator.announce(item(i + 1));
        estimator.add(item(i), i);
      }
      estimator.flush();
    }
  });
}

}  // namespace flmr
