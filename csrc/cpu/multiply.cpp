// Vectors times rows.  One dot product is one chain of multiply-adds (simd/dots.h), so its bits do not depend on which
// other vectors are in the call, as those of a matrix library do.

#include <algorithm>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

constexpr int64_t kVectors = 1024;  // a unit of work

}  // namespace

void multiply(const Rows& vectors, const Rows& rows, float* out, Run run) {
  const Product product(simd(run.isa), rows.dim);
  // The fewer are transposed into lanes, once a thread; a product is the same either way round.
  const bool few = vectors.count < rows.count;
  const Rows& packed = few ? vectors : rows;
  const Rows& streamed = few ? rows : vectors;
  share((streamed.count + kVectors - 1) / kVectors, run.threads, [&](Units& units) {
    Panels panels(product, packed.count);
    panels.pack(packed, 0, packed.count);
    const int64_t tokens = tile_tokens(product.cells);
    Buffer<float> tile(tokens * product.cells), dots(tokens * panels.width());
    for (int64_t unit; units.take(unit);) {
      const int64_t last = std::min(streamed.count, (unit + 1) * kVectors);
      for (int64_t begin = unit * kVectors; begin < last; begin += tokens) {
        const int64_t count = std::min(tokens, last - begin);
        product.load(streamed, begin, begin + count, tile.get());
        panels.each([&](const float* panel, int64_t first, int64_t width) {
          product.dots(panel, width, tile.get(), count, dots.get());
          const int64_t there = std::min(width, packed.count - first);
          for (int64_t t = 0; t < count; ++t)
            for (int64_t p = 0; p < there; ++p)
              out[few ? (first + p) * rows.count + begin + t : (begin + t) * rows.count + first + p] =
                  dots.get()[t * width + p];
        });
      }
    }
  });
}

}  // namespace flmr
