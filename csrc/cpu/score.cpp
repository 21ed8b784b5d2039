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

template <class Load>
void score_items(const Simd& isa, const float* query, int64_t rows, int64_t dim, const int64_t* offsets,
                 int64_t num_items, int64_t num_vectors, const uint32_t* items, int64_t wanted, float* scores,
                 int threads, Load load) {
  Panels panels(isa, rows, dim);
  panels.pack({query, false, rows, dim}, 0, rows);
  const int64_t step = items_at_once(wanted, threads);
  share((wanted + step - 1) / step, threads, [&](Units& units) {
    MaxWalk walk(isa, panels, dim);
    for (int64_t unit; units.take(unit);)
      walk.run(
          unit * step, std::min(wanted, (unit + 1) * step),
          [&](int64_t i, int64_t& begin, int64_t& end) {
            checked_range(offsets, num_items, num_vectors, items[i], begin, end);
          },
          load,
          [&](int64_t i, const float* best) {
            scores[i] = best ? static_cast<float>(sum(best, rows)) : -std::numeric_limits<float>::infinity();
          });
  });
}

}  // namespace

void score_flat(const float* query, int64_t rows, const Ragged& documents, const uint32_t* items, int64_t wanted,
                float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  score_items(isa, query, rows, documents.rows.dim, documents.offsets, documents.items, documents.rows.count, items,
              wanted, scores, run.threads,
              [&](int64_t begin, int64_t end, float* out) { copy_rows(isa, documents.rows, begin, end, out); });
}

}  // namespace flmr
