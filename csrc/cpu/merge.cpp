// A query of fewer rows that ranks items nearly as the whole: rows that point the same way are replaced by their sum.
//
// MaxSim of a multiple of a row is that multiple of its MaxSim, so the sum of rows that agree stands for all of them.
// Pairs are merged in the order of Ward ("Hierarchical grouping to optimize an objective function", 1963): always the
// two whose merging adds the least squared distance from rows to the means of their groups.

#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "query.h"

namespace flmr {
namespace {

// Products of all pairs of rows, from their first bytes: whole numbers, so that all instruction sets merge alike.
std::vector<double> gram(const Simd& isa, const float* query, int64_t rows, int64_t dim) {
  const ByteQuery bytes(isa, query, rows, dim);
  const int64_t stride = padded_bytes(dim), blocks = bytes.blocks();
  std::vector<uint8_t> tile(static_cast<size_t>(rows * stride), uint8_t{128});
  for (int64_t r = 0; r < rows; ++r) bytes.high_row(r, query + r * dim, &tile[static_cast<size_t>(r * stride)]);
  std::vector<int32_t> dots(static_cast<size_t>(rows * kBlockRows));
  std::vector<double> products(static_cast<size_t>(rows * rows));
  for (int64_t block = 0; block < blocks; ++block) {
    isa.byte_dots(bytes.high(block), bytes.high_start(block), tile.data(), stride, rows, dim, kWhole, dots.data());
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t r = 0; r < bytes.rows_in(block); ++r) {
        const int64_t j = block * kBlockRows + r;
        products[static_cast<size_t>(i * rows + j)] = static_cast<double>(bytes.step(i)) * bytes.step(j) *
                                                      dots[static_cast<size_t>(i * kBlockRows + r)];
      }
  }
  return products;
}

class Ward {
 public:
  Ward(std::vector<double> products, int64_t rows)
      : rows_(rows), costs_(std::move(products)), sizes_(static_cast<size_t>(rows), 1.0),
        nearest_(static_cast<size_t>(rows), -1) {
    std::vector<double> squares(static_cast<size_t>(rows));
    for (int64_t i = 0; i < rows; ++i) squares[static_cast<size_t>(i)] = cost(i, i), total_ += cost(i, i);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < rows; ++j)
        cost(i, j) = (squares[static_cast<size_t>(i)] + squares[static_cast<size_t>(j)] - 2 * cost(i, j)) / 2;
    for (int64_t i = 0; i < rows; ++i) alive_.push_back(i);
    for (const int64_t i : alive_) look(i);
  }

  double total() const { return total_; }

  // Merges the cheapest pair: the later row into the earlier.  Returns what that costs.
  double merge(int64_t& into, int64_t& from) {
    into = *std::min_element(alive_.begin(), alive_.end(), [&](int64_t a, int64_t b) { return least(a) < least(b); });
    from = nearest_[static_cast<size_t>(into)];
    if (from < into) std::swap(into, from);
    const double price = cost(into, from), a = sizes_[static_cast<size_t>(into)], b = sizes_[static_cast<size_t>(from)];
    alive_.erase(std::find(alive_.begin(), alive_.end(), from));
    for (const int64_t other : alive_) {
      if (other == into) continue;
      const double c = sizes_[static_cast<size_t>(other)];  // Lance and Williams 1967
      cost(into, other) = cost(other, into) =
          ((a + c) * cost(into, other) + (b + c) * cost(from, other) - c * price) / (a + b + c);
    }
    sizes_[static_cast<size_t>(into)] = a + b;
    for (const int64_t other : alive_) {
      const int64_t was = nearest_[static_cast<size_t>(other)];
      if (other == into || was == into || was == from || cost(other, into) < least(other)) look(other);
    }
    return price;
  }

 private:
  double& cost(int64_t i, int64_t j) { return costs_[static_cast<size_t>(i * rows_ + j)]; }
  double least(int64_t i) {
    const int64_t j = nearest_[static_cast<size_t>(i)];
    return j < 0 ? std::numeric_limits<double>::infinity() : cost(i, j);
  }

  void look(int64_t i) {
    int64_t& best = nearest_[static_cast<size_t>(i)];
    best = -1;
    for (const int64_t j : alive_)
      if (j != i && (best < 0 || cost(i, j) < cost(i, best))) best = j;
  }

  const int64_t rows_;
  std::vector<double> costs_, sizes_;
  std::vector<int64_t> nearest_, alive_;
  double total_ = 0;
};

}  // namespace

int64_t merge_rows(const float* query, int64_t rows, int64_t dim, double most_lost, float* merged, const char* isa) {
  std::vector<int64_t> intos, froms;
  if (rows > 8) {
    Ward ward(gram(simd(isa), query, rows, dim), rows);
    double lost = 0;
    while (static_cast<int64_t>(intos.size()) < rows - 1) {
      int64_t into, from;
      lost += ward.merge(into, from);
      if (lost > most_lost * ward.total()) break;
      intos.push_back(into);
      froms.push_back(from);
    }
  }
  // Blocks are looked at as a whole: rows that fill one up cost nothing.
  const int64_t left = rows - static_cast<int64_t>(intos.size()), block = few_rows(left);
  const int64_t kept = std::min(rows, (left + block - 1) / block * block);
  std::vector<double> sums(query, query + rows * dim);
  std::vector<bool> gone(static_cast<size_t>(rows));
  for (size_t m = 0; m < static_cast<size_t>(rows - kept); ++m) {
    for (int64_t d = 0; d < dim; ++d) sums[static_cast<size_t>(intos[m] * dim + d)] += sums[static_cast<size_t>(froms[m] * dim + d)];
    gone[static_cast<size_t>(froms[m])] = true;
  }
  for (int64_t r = 0; r < rows; ++r)
    if (!gone[static_cast<size_t>(r)])
      for (int64_t d = 0; d < dim; ++d) *merged++ = static_cast<float>(sums[static_cast<size_t>(r * dim + d)]);
  return kept;
}

}  // namespace flmr
