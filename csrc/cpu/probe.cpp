// From centroid scores to candidates.

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

// One number of a list: seven bits a byte, lowest first, the highest bit says that more follow.
uint32_t take_varint(const uint8_t*& next, const uint8_t* end, int64_t centroid) {
  uint64_t value = 0;
  for (int shift = 0; shift < 35 && next < end; shift += 7) {
    const uint8_t byte = *next++;
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (!(byte & 128)) {
      if (value > 0xffffffff) break;
      return static_cast<uint32_t>(value);
    }
  }
  throw Refused("list " + std::to_string(centroid) + " holds a number that does not end or is too large");
}

// Items ascending: the first one, then how far each is from the one before.
void add_list(int64_t centroid, const int64_t* list_offsets, const uint8_t* lists, int64_t list_bytes, Set& items) {
  const int64_t begin = list_offsets[centroid], end = list_offsets[centroid + 1];
  if (begin < 0 || end < begin || end > list_bytes)
    throw Refused("the offsets of list " + std::to_string(centroid) + " must rise from 0 to " +
                  std::to_string(list_bytes));
  const uint8_t* next = lists + begin;
  uint64_t item = 0;
  while (next < lists + end) {
    item += take_varint(next, lists + end, centroid);
    if (item >= static_cast<uint64_t>(items.count()))
      throw Refused("item " + std::to_string(item) + " of list " + std::to_string(centroid) + " is not below " +
                    std::to_string(items.count()));
    items.add(static_cast<uint32_t>(item));
  }
}

}  // namespace

std::vector<uint32_t> probe(const float* centroid_scores_QK, int64_t rows, int64_t num_centroids,
                            const int64_t* list_offsets, const uint8_t* lists, int64_t list_bytes, int64_t nprobe,
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
  const std::vector<uint32_t> probed = centroids.ascending();  // rows of one query share many
  constexpr int64_t kLists = 16;
  const int64_t count = static_cast<int64_t>(probed.size());
  share((count + kLists - 1) / kLists, run.threads, [&](Units& units) {
    for (int64_t unit; units.take(unit);)
      for (int64_t i = unit * kLists; i < std::min(count, (unit + 1) * kLists); ++i)
        add_list(probed[static_cast<size_t>(i)], list_offsets, lists, list_bytes, items);
  });
  return items.ascending();
}

}  // namespace flmr
