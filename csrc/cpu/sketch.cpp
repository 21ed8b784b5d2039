// Products of a few rows, one of each query, with the mean vectors of items in one bit a dimension.

#include <vector>

#include "../kernels.h"
#include "levels.h"
#include "query.h"
#include "threads.h"

namespace flmr {
namespace {

constexpr int64_t kTile = 96;  // sketches multiplied together
constexpr int64_t kUnit = 16 * kTile;

}  // namespace

void sketch_scores(const float* rows, int64_t count_rows, int64_t dim, const uint8_t* packed, const uint8_t* scales, int64_t count,
                   const int8_t* levels, const float* scale_table, float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  const FewQuery few(isa, rows, count_rows, dim);
  const Levels known(levels, 1);
  const int64_t bytes = (dim + 7) / 8, stride = isa.few_stride(few.width(), dim), together = isa.few_together(few.width());
  share((count + kUnit - 1) / kUnit, run.threads, [&](Units& units) {
    Buffer<uint8_t> tile(kTile * stride);
    std::memset(tile.get(), 0, static_cast<size_t>(kTile * stride));
    Buffer<int32_t> dots(kTile * isa.few_width(few.width()));
    std::vector<float> widths(static_cast<size_t>(kTile)), found(static_cast<size_t>(kTile * few.width()));
    for (int64_t unit; units.take(unit);)
      for (int64_t first = unit * kUnit; first < std::min(count, (unit + 1) * kUnit); first += kTile) {
        const int64_t some = std::min(kTile, count - first);
        for (int64_t i = 0; i < some; ++i) widths[static_cast<size_t>(i)] = scale_table[scales[first + i]];
        isa.few_levels(packed + first * bytes, some, dim, 1, known.table(), known.wide(), few.width(), tile.get());
        for (int64_t b = 0; b < few.blocks(); ++b) {
          isa.few_dots(few.panel(b), tile.get(), (some + together - 1) / together, dim, few.width(), dots.get());
          isa.few_scores(dots.get(), few.steps(b), widths.data(), some, few.width(), found.data());
          for (int64_t r = 0; r < few.width() && b * few.width() + r < count_rows; ++r)
            for (int64_t i = 0; i < some; ++i)
              scores[(b * few.width() + r) * count + first + i] = found[static_cast<size_t>(i * few.width() + r)];
        }
      }
  });
}

}  // namespace flmr
