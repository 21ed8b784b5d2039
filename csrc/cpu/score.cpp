// One query against chosen items, from the vectors themselves.  A tile of them is widened in the first-level
// cache, multiplied with every query row and forgotten.

#include <algorithm>
#include <limits>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

// Items that one thread takes at a time: few enough to share evenly, many enough to fill tiles.
int64_t items_at_once(int64_t wanted, int threads) {
  return std::clamp<int64_t>(wanted / (static_cast<int64_t>(threads) * 8), 1, 256);
}

}  // namespace

void score_flat(const float* query, int64_t rows, const Ragged& documents, const uint32_t* items, int64_t wanted,
                float* scores, Precision precision, Run run) {
  const int64_t dim = documents.rows.dim;
  const Product product(simd(run.isa), dim, precision);
  Panels panels(product, rows);
  panels.pack({query, false, rows, dim}, 0, rows);
  const int64_t step = items_at_once(wanted, run.threads);
  share((wanted + step - 1) / step, run.threads, [&](Units& units) {
    MaxWalk walk(product, panels, documents.rows);
    for (int64_t unit; units.take(unit);)
      walk.run(
          unit * step, std::min(wanted, (unit + 1) * step),
          [&](int64_t i, int64_t& begin, int64_t& end) {
            checked_range(documents.offsets, documents.items, documents.rows.count, items[i], begin, end);
          },
          [&](int64_t i, const float* best) {
            scores[i] = best ? static_cast<float>(sum(best, rows)) : -std::numeric_limits<float>::infinity();
          });
  });
}

}  // namespace flmr
