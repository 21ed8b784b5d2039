// A score of every item from its codes alone: two loads of a block's bytes, an addition and a maximum a vector.

#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "tile.h"
#include "threads.h"

namespace flmr {
namespace {

constexpr int64_t kItems = 512;  // so many items pass a block of the table before the next block comes
constexpr int64_t kAhead = 4;    // items

}  // namespace

void rough(const ByteTable& table, const Coded& vectors, const uint32_t* items, int64_t wanted, float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  std::vector<uint8_t> bonus(256 * 16);  // each in as many bytes as are added together
  for (size_t scale = 0; scale < 256; ++scale) std::fill_n(&bonus[scale * 16], 16, table.bonus[scale]);
  const auto item = [&](int64_t i) { return items ? items[i] : static_cast<uint32_t>(i); };
  share((wanted + kItems - 1) / kItems, run.threads, [&](Units& units) {
    std::vector<int32_t> sums(static_cast<size_t>(kItems));
    uint8_t best[16];
    for (int64_t number; units.take(number);) {
      const int64_t first = number * kItems, count = std::min(kItems, wanted - first);
      int64_t begin, end;
      std::fill(sums.begin(), sums.end(), 0);
      for (int64_t i = 0; i < count; ++i) {
        checked_range(vectors.offsets, vectors.items, vectors.count, item(first + i), begin, end);
        check_codes(isa, vectors.codes, begin, end, table.num_centroids);
      }
      for (int64_t block = 0; block < table.blocks; ++block)
        for (int64_t i = 0; i < count; ++i) {
          begin = vectors.offsets[item(first + i)], end = vectors.offsets[item(first + i) + 1];
          if (i + kAhead < count) __builtin_prefetch(vectors.codes + vectors.offsets[item(first + i + kAhead)]);
          isa.byte_max(table.bytes + block * table.num_centroids * table.width, table.width, vectors.codes + begin,
                       vectors.scales + begin, bonus.data(), end - begin, best);
          for (int row = 0; row < table.width; ++row)
            sums[static_cast<size_t>(i)] += best[row] * table.weights[block * table.width + row];
        }
      for (int64_t i = 0; i < count; ++i) {
        begin = vectors.offsets[item(first + i)], end = vectors.offsets[item(first + i) + 1];
        scores[first + i] = begin < end ? table.factor * static_cast<float>(sums[static_cast<size_t>(i)]) + table.base
                                        : -std::numeric_limits<float>::infinity();
      }
    }
  });
}

}  // namespace flmr
