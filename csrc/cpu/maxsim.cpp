// All queries against all documents.  The rows of many queries fill the lanes together, so short queries waste nothing.

#include <algorithm>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

// Cuts items into runs of about `rows` rows, at least one item each: where each run begins, and the end.
std::vector<int64_t> runs_of(const Ragged& items, int64_t rows) {
  std::vector<int64_t> cuts = {0};
  for (int64_t i = 0; i < items.items; ++i)
    if (i > cuts.back() && (items.offsets[i + 1] - items.offsets[cuts.back()] > rows || i - cuts.back() >= rows))
      cuts.push_back(i);
  if (items.items > 0) cuts.push_back(items.items);
  return cuts;
}

int64_t most_rows(const Ragged& items, const std::vector<int64_t>& cuts) {
  int64_t most = 0;
  for (size_t c = 1; c < cuts.size(); ++c) most = std::max(most, items.offsets[cuts[c]] - items.offsets[cuts[c - 1]]);
  return most;
}

void check_offsets(const char* name, const Ragged& items) {
  for (int64_t i = 0; i < items.items; ++i) {
    int64_t begin, end;
    checked_range(items.offsets, items.items, items.rows.count, static_cast<uint32_t>(i), begin, end);
  }
  if (items.items >= std::numeric_limits<uint32_t>::max()) throw Refused(std::string("too many ") + name);
}

}  // namespace

void maxsim(const Ragged& queries, const Ragged& documents, float* scores, Precision precision, Run run) {
  const Product product(simd(run.isa), queries.rows.dim, precision);
  check_offsets("queries", queries);
  check_offsets("documents", documents);
  // 1,024 query rows of 128 dimensions are 512 KB, half of a second-level cache.
  const std::vector<int64_t> blocks = runs_of(queries, 1024), runs = runs_of(documents, 2048);
  const int64_t num_runs = static_cast<int64_t>(runs.size()) - 1;
  const int64_t num_blocks = static_cast<int64_t>(blocks.size()) - 1;
  const int64_t capacity = most_rows(queries, blocks);

  share(num_blocks * num_runs, run.threads, [&](Units& units) {
    Panels panels(product, capacity);
    int64_t packed = -1;
    for (int64_t unit; units.take(unit);) {
      const int64_t block = unit / num_runs, part = unit % num_runs;
      const int64_t first = blocks[block], last = blocks[block + 1];
      const int64_t base = queries.offsets[first];
      if (packed != block) panels.pack(queries.rows, base, queries.offsets[last]);
      packed = block;
      MaxWalk walk(product, panels, documents.rows);
      walk.run(
          runs[part], runs[part + 1],
          [&](int64_t document, int64_t& begin, int64_t& end) {
            begin = documents.offsets[document];
            end = documents.offsets[document + 1];
          },
          [&](int64_t document, const float* best) {
            for (int64_t query = first; query < last; ++query) {
              const int64_t begin = queries.offsets[query], end = queries.offsets[query + 1];
              scores[query * documents.items + document] =
                  best ? static_cast<float>(sum(best + (begin - base), end - begin))
                       : -std::numeric_limits<float>::infinity();
            }
          });
    }
  });
}

}  // namespace flmr
