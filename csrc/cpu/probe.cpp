// From centroid scores to candidates, and their approximate scores.

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "../kernels.h"
#include "threads.h"
#include "tile.h"

namespace flmr {
namespace {

// Numbers below `count`, collected from many threads.
class Set {
 public:
  explicit Set(int64_t count) : count_(count), words_(static_cast<size_t>((count + 63) / 64)) {}

  void add(uint32_t number) {
    std::atomic<uint64_t>& word = words_[number / 64];
    const uint64_t bit = uint64_t{1} << (number % 64);
    if (!(word.load(std::memory_order_relaxed) & bit)) word.fetch_or(bit, std::memory_order_relaxed);
  }

  std::vector<uint32_t> ascending() const {
    std::vector<uint32_t> numbers;
    for (size_t w = 0; w < words_.size(); ++w)
      for (uint64_t rest = words_[w].load(std::memory_order_relaxed); rest; rest &= rest - 1)
        numbers.push_back(static_cast<uint32_t>(w * 64 + static_cast<size_t>(__builtin_ctzll(rest))));
    return numbers;
  }

  int64_t count() const { return count_; }

 private:
  const int64_t count_;
  std::vector<std::atomic<uint64_t>> words_;
};

void add_list(int64_t centroid, const int64_t* list_offsets, const uint32_t* list_items, int64_t list_size,
              Set& items) {
  const int64_t begin = list_offsets[centroid], end = list_offsets[centroid + 1];
  if (begin < 0 || end < begin || end > list_size)
    throw Refused("the offsets of list " + std::to_string(centroid) + " must rise from 0 to " +
                  std::to_string(list_size));
  for (int64_t i = begin; i < end; ++i) {
    if (list_items[i] >= items.count())
      throw Refused("item " + std::to_string(list_items[i]) + " of list " + std::to_string(centroid) +
                    " is not below " + std::to_string(items.count()));
    items.add(list_items[i]);
  }
}

}  // namespace

std::vector<uint32_t> probe(const float* centroid_scores_QK, int64_t rows, int64_t num_centroids,
                            const int64_t* list_offsets, const uint32_t* list_items, int64_t list_size, int64_t nprobe,
                            int64_t num_items, Run run) {
  Set centroids(num_centroids), items(num_items);
  share(rows, run.threads, [&](Units& units) {
    std::vector<int64_t> best(static_cast<size_t>(std::min(nprobe, num_centroids)));
    for (int64_t row; units.take(row);) {
      const float* scores = centroid_scores_QK + row * num_centroids;
      const int64_t found = topk(scores, num_centroids, nullptr, nprobe, best.data(), run.isa);
      for (int64_t i = 0; i < found; ++i) centroids.add(static_cast<uint32_t>(best[static_cast<size_t>(i)]));
    }
  });
  const std::vector<uint32_t> lists = centroids.ascending();  // rows of one query share many
  constexpr int64_t kLists = 16;
  const int64_t count = static_cast<int64_t>(lists.size());
  share((count + kLists - 1) / kLists, run.threads, [&](Units& units) {
    for (int64_t unit; units.take(unit);)
      for (int64_t i = unit * kLists; i < std::min(count, (unit + 1) * kLists); ++i)
        add_list(lists[static_cast<size_t>(i)], list_offsets, list_items, list_size, items);
  });
  return items.ascending();
}

void approximate(const float* centroid_scores_KQ, int64_t num_centroids, int64_t rows, const uint32_t* codes,
                 int64_t count, const int64_t* offsets, int64_t num_items, const uint32_t* items, int64_t wanted,
                 float* scores, Run run) {
  const Simd& isa = simd(run.isa);
  constexpr int64_t kItems = 64;
  share((wanted + kItems - 1) / kItems, run.threads, [&](Units& units) {
    Buffer<float> best(rows);
    for (int64_t unit; units.take(unit);)
      for (int64_t i = unit * kItems; i < std::min(wanted, (unit + 1) * kItems); ++i) {
        int64_t begin, end;
        checked_range(offsets, num_items, count, items[i], begin, end);
        check_codes(codes, begin, end, num_centroids);
        isa.gather_max(centroid_scores_KQ, codes + begin, end - begin, rows, best.get());
        scores[i] = begin < end ? static_cast<float>(sum(best.get(), rows)) : -std::numeric_limits<float>::infinity();
      }
  });
}

}  // namespace flmr
