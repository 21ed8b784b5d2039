// Fuzzes the kernels with arrays as a hostile index would hold them: codes, offsets, lists and item numbers of any value.
//
// An execution draws one op and its arrays from a seed, each array in a heap block of its exact size, so that a sanitizer
// sees the first byte read beyond it.  The op runs on every instruction set and several numbers of threads.  What must
// hold: an op refuses if and only if something it would follow is out of range; all runs agree, those with vector
// instructions to the bit.  Built with a sanitizer by `make fuzz`, `make asan` and `make tsan`; `make neon` runs it in an
// emulator of another processor, whose digest of all results that are promised to the bit must be this one's.
//
//   fuzz [--seconds S] [--count N] [--seed S] [--callers T]     T threads make the same call on the same arrays at once
//   fuzz --overrun | --race     do what the sanitizer is there for, to prove that it would see it

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../../csrc/cpu/threads.h"
#include "../../csrc/kernels.h"

namespace {

using flmr::Run;

// A stream of numbers that a seed decides: splitmix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t bound) { return bound > 0 ? static_cast<int64_t>(next() % static_cast<uint64_t>(bound)) : 0; }
  bool one_in(int64_t n) { return below(n) == 0; }
  float normal() {
    double total = 0;
    for (int i = 0; i < 4; ++i) total += static_cast<double>(next() >> 11) / 9007199254740992.0;
    return static_cast<float>((total - 2) * 1.7);
  }

 private:
  uint64_t state_;
};

// An array of exactly its size on the heap.
template <class T>
class Array {
 public:
  explicit Array(int64_t count) : count_(count), data_(new T[static_cast<size_t>(count)]()) {}
  T* get() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_[static_cast<size_t>(i)]; }
  int64_t count() const { return count_; }

 private:
  int64_t count_;
  std::unique_ptr<T[]> data_;
};

const int64_t kOffsets[] = {-1, 0, 1, 1 << 20, int64_t{1} << 31, int64_t{1} << 32, int64_t{1} << 61,
                            std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};
const uint32_t kNumbers[] = {0, 1, 255, 256, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};

Array<float> floats(Random& random, int64_t count, bool strange) {
  Array<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = random.normal();
  if (strange && count)
    for (int64_t i = random.below(4); i > 0; --i) {
      const float odd[] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-45f, -0.0f};
      values[random.below(count)] = odd[random.below(7)];
    }
  return values;
}

template <class T>
Array<T> bits(Random& random, int64_t count) {
  Array<T> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(random.next());
  return values;
}

// Rising offsets over about `total` things, then perhaps damaged.
Array<int64_t> offsets_of(Random& random, int64_t groups, int64_t& total, bool damaged) {
  Array<int64_t> offsets(groups + 1);
  for (int64_t i = 0; i < groups; ++i) offsets[i + 1] = offsets[i] + (random.one_in(4) ? 0 : random.below(9));
  if (random.one_in(20) && groups) offsets[groups] += 200;  // a group longer than a tile
  total = offsets[groups];
  if (damaged)
    for (int64_t i = 1 + random.below(3); i > 0; --i) {
      const int64_t place = random.below(groups + 1);
      const int64_t near = static_cast<int64_t>(static_cast<uint64_t>(offsets[place]) + random.next() % 5 - 2);
      offsets[place] = random.one_in(2) ? near : kOffsets[random.below(9)];
    }
  return offsets;
}

template <class T>
Array<T> numbers_below(Random& random, int64_t count, int64_t bound, bool damaged) {
  Array<T> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(random.below(bound));
  if (damaged && count)
    values[random.below(count)] = static_cast<T>(random.one_in(2) ? bound : kNumbers[random.below(9)]);
  return values;
}

bool sound_range(const Array<int64_t>& offsets, uint32_t item, int64_t total, int64_t& begin, int64_t& end) {
  if (item >= offsets.count() - 1) return false;
  begin = offsets[item], end = offsets[item + 1];
  return begin >= 0 && end >= begin && end <= total;
}

// Whether every wanted item's rows, and their codes where there are any, lie in range.
template <class Code>
bool sound_items(const Array<uint32_t>& items, const Array<int64_t>& offsets, int64_t total, const Code* codes,
                 int64_t num_centroids) {
  for (int64_t i = 0; i < items.count(); ++i) {
    int64_t begin, end;
    if (!sound_range(offsets, items[i], total, begin, end)) return false;
    for (int64_t t = begin; codes && t < end; ++t)
      if (codes[t] >= num_centroids) return false;
  }
  return true;
}

struct Outcome {
  bool refused = false;
  std::vector<float> values;
};

std::map<std::string, int64_t> counts;
uint64_t current = 0;
uint64_t digest = 0xCBF29CE484222325u;  // FNV-1a

void digest_of(const std::vector<float>& values) {
  for (const float value : values) {
    uint32_t word = 0x7FC00000u;  // any NaN
    if (!std::isnan(value)) std::memcpy(&word, &value, sizeof word);
    digest = (digest ^ word) * 0x100000001B3u;
  }
}

[[noreturn]] void fail(const std::string& op, const std::string& what) {
  std::fprintf(stderr, "fuzz: seed %llu, %s: %s\n", static_cast<unsigned long long>(current), op.c_str(), what.c_str());
  std::abort();
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0 && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  return true;
}

bool close(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) continue;
    const float scale = std::max({1.0f, std::fabs(a[i]), std::fabs(b[i])});
    if (std::fabs(a[i] - b[i]) > 1e-2f * scale) return false;
  }
  return true;
}

// Which runs must agree to the bit; those of one instruction set always must.
enum class Agree {
  kAll,      // whole numbers: all of them
  kVectors,  // those with vector instructions; scalar code rounds products too, and so is only close
  kClose,    // none: instruction sets add in orders of their own
  kNone,     // not even close: values so odd that rounding decides between finite and infinite
};

Agree unless(bool strange) { return strange ? Agree::kNone : Agree::kVectors; }

// Runs a call in every way there is.  `sound`: whether it must be accepted.
void everywhere(const std::string& op, bool sound, Agree agree, int callers,
                const std::function<std::vector<float>(Run)>& call) {
  const auto once = [&](Run run) {
    Outcome outcome;
    try {
      outcome.values = call(run);
    } catch (const flmr::Refused&) {
      outcome.refused = true;
    }
    return outcome;
  };
  static const std::vector<std::string> isas = flmr::simd_names();
  std::vector<Outcome> first;
  for (const std::string& isa : isas) {
    for (const int threads : {1, 3}) {
      std::vector<Outcome> outcomes(static_cast<size_t>(callers));
      std::vector<std::thread> others;
      for (int c = 1; c < callers; ++c)
        others.emplace_back([&, c] { outcomes[static_cast<size_t>(c)] = once({isa.c_str(), threads}); });
      outcomes[0] = once({isa.c_str(), threads});
      for (std::thread& other : others) other.join();
      for (const Outcome& outcome : outcomes) {
        if (outcome.refused == sound)
          fail(op, std::string(sound ? "refused what is sound" : "accepted what is out of range") + " on " + isa);
        if (threads == 1 && &outcome == &outcomes[0])
          first.push_back(outcome);
        else if (!same_bits(outcome.values, first.back().values))
          fail(op, "another result with " + std::to_string(threads) + " threads or another caller on " + isa);
      }
    }
    if (agree == Agree::kNone) continue;
    if (!close(first.front().values, first.back().values)) fail(op, isa + " is far from " + isas.front());
    if (agree == Agree::kClose) continue;
    const size_t least = agree == Agree::kAll ? 0 : 1;
    if (first.size() > least && !same_bits(first[least].values, first.back().values))
      fail(op, isa + " differs from " + isas[least]);
  }
  if (agree == Agree::kAll || agree == Agree::kVectors) digest_of(first.back().values);
  ++counts[op + (sound ? " accepted" : " refused")];
}

std::vector<float> listed(const Array<float>& values) { return {values.get(), values.get() + values.count()}; }

template <class T>
std::vector<float> listed_numbers(const T* values, int64_t count) {
  return {values, values + count};
}

Array<uint32_t> wanted_items(Random& random, int64_t num_items) {
  const int64_t count = random.below(40);  // drawn first: compilers differ in which argument they work out first
  return numbers_below<uint32_t>(random, count, num_items, random.one_in(6) || num_items == 0);
}

// Codes as an index stores them, with what they mean.
struct Stored {
  Stored(Random& random, bool strange, bool damaged)
      : nbits((const int[]){1, 2, 3, 4, 8}[random.below(5)]), dim(1 + random.below(random.one_in(8) ? 300 : 40)),
        num_items(random.below(60)), num_centroids(1 + random.below(60)),
        offsets(offsets_of(random, num_items, total, damaged && random.one_in(2))),
        codes(numbers_below<uint16_t>(random, total, num_centroids, damaged && random.one_in(2))),
        packed(bits<uint8_t>(random, total * bytes())), scales(bits<uint8_t>(random, total)),
        centroids(bits<int8_t>(random, num_centroids * dim)), levels(bits<int8_t>(random, nbits == 8 ? 256 : 64)),
        centroid_scales(floats(random, num_centroids, strange)), scale_table(floats(random, 256, strange)) {
    for (int64_t i = 0; i < centroids.count(); ++i) centroids[i] = std::max<int8_t>(centroids[i], -127);
  }
  int64_t bytes() const { return (dim * nbits + 7) / 8; }
  flmr::Coded coded() const { return {codes.get(), packed.get(), scales.get(), offsets.get(), total, num_items}; }
  flmr::Codebook book() const {
    return {centroids.get(), centroid_scales.get(), scale_table.get(), levels.get(), num_centroids, dim, nbits};
  }
  bool sound(const Array<uint32_t>& items) const {
    return sound_items(items, offsets, total, codes.get(), num_centroids);
  }

  int nbits;
  int64_t dim, num_items, num_centroids, total = 0;
  Array<int64_t> offsets;
  Array<uint16_t> codes;
  Array<uint8_t> packed, scales;
  Array<int8_t> centroids, levels;
  Array<float> centroid_scales, scale_table;
};

// The items that are wanted, and whether they are all in order, for which an op takes a null pointer.
struct Wanted {
  Wanted(Random& random, int64_t num_items) : all(random.one_in(3)), items(all ? num_items : random.below(40)) {
    if (all)
      for (int64_t i = 0; i < num_items; ++i) items[i] = static_cast<uint32_t>(i);
    else
      items = wanted_items(random, num_items);
  }
  const uint32_t* pointer() const { return all ? nullptr : items.get(); }

  bool all;
  Array<uint32_t> items;
};

constexpr int64_t kBlock = 32;  // rows of a query that are looked at together

void fuzz_score_codes(Random& random, int callers) {
  const bool strange = random.one_in(6);
  const Stored stored(random, strange, random.one_in(3));
  const int64_t rows = random.below(random.one_in(8) ? 90 : 40), blocks = (rows + kBlock - 1) / kBlock;
  const auto query = floats(random, rows * stored.dim, false);
  const Wanted wanted(random, stored.num_items);
  const bool tabled = random.one_in(2);
  const Array<float> table(blocks * stored.num_centroids * kBlock);
  flmr::score_table(query.get(), rows, stored.centroids.get(), stored.centroid_scales.get(), stored.num_centroids,
                    stored.dim, table.get(), {flmr::simd_names().front().c_str(), 1});
  everywhere("score_codes", stored.sound(wanted.items), strange ? Agree::kNone : Agree::kAll, callers, [&](Run run) {
    Array<float> out(wanted.items.count());
    flmr::score_codes(query.get(), rows, tabled ? table.get() : nullptr, stored.book(), stored.coded(),
                      wanted.pointer(), out.count(), out.get(), run);
    return listed(out);
  });
}

int64_t few(int64_t rows) { return rows <= 8 ? 8 : 16; }

void fuzz_estimate(Random& random, int callers) {
  const bool strange = random.one_in(6);
  const Stored stored(random, strange, random.one_in(3));
  const int64_t rows = random.below(random.one_in(2) ? 9 : 40), width = few(rows), blocks = (rows + width - 1) / width;
  const auto query = floats(random, rows * stored.dim, false);
  const Wanted wanted(random, stored.num_items);
  const Array<float> table(blocks * stored.num_centroids * width);
  flmr::few_table(query.get(), rows, stored.centroids.get(), stored.centroid_scales.get(), stored.num_centroids,
                  stored.dim, table.get(), {flmr::simd_names().front().c_str(), 1});
  everywhere("estimate", stored.sound(wanted.items), strange ? Agree::kNone : Agree::kAll, callers, [&](Run run) {
    Array<float> out(wanted.items.count());
    flmr::estimate(query.get(), rows, table.get(), stored.book(), stored.coded(), wanted.pointer(), out.count(),
                   out.get(), run);
    return listed(out);
  });
}

void fuzz_rough(Random& random, int callers) {
  const Stored stored(random, false, random.one_in(3));
  const int64_t blocks = random.below(4), width = random.one_in(2) ? 8 : 16;
  const auto table = bits<uint8_t>(random, blocks * stored.num_centroids * width), bonus = bits<uint8_t>(random, 256);
  const auto weights = bits<int16_t>(random, blocks * width);
  const Wanted wanted(random, stored.num_items);
  flmr::Coded vectors = stored.coded();
  vectors.packed = nullptr;
  everywhere("rough", stored.sound(wanted.items), Agree::kAll, callers, [&](Run run) {
    Array<float> out(wanted.items.count());
    flmr::rough({table.get(), bonus.get(), weights.get(), blocks, stored.num_centroids,
                 static_cast<int>(width), 0.5f, 1.0f}, vectors,
                wanted.pointer(), out.count(), out.get(), run);
    return listed(out);
  });
}

void fuzz_sketch_scores(Random& random, int callers) {
  const bool strange = random.one_in(6);
  const int64_t dim = 1 + random.below(random.one_in(8) ? 300 : 140), count = random.below(random.one_in(4) ? 2000 : 200);
  const int64_t rows = random.below(20);
  const auto values = floats(random, rows * dim, false), table = floats(random, 256, strange);
  const auto packed = bits<uint8_t>(random, count * ((dim + 7) / 8)), scales = bits<uint8_t>(random, count);
  const auto levels = bits<int8_t>(random, 64);
  everywhere("sketch_scores", true, strange ? Agree::kNone : Agree::kAll, callers, [&](Run run) {
    Array<float> out(rows * count);
    flmr::sketch_scores(values.get(), rows, dim, packed.get(), scales.get(), count, levels.get(), table.get(), out.get(), run);
    return listed(out);
  });
}

void fuzz_table(Random& random, int callers) {
  const bool strange = random.one_in(6);
  const Stored stored(random, strange, false);
  const int64_t rows = random.below(70), blocks = (rows + kBlock - 1) / kBlock;
  const int64_t size = blocks * stored.num_centroids * kBlock;
  const auto query = floats(random, rows * stored.dim, false);
  const Agree agree = strange ? Agree::kNone : Agree::kAll;
  auto norms = floats(random, rows, false);
  for (int64_t r = 0; r < rows; ++r) norms[r] = std::fabs(norms[r]);
  everywhere("score_table", true, agree, callers, [&](Run run) {
    Array<float> out(size);
    flmr::score_table(query.get(), rows, stored.centroids.get(), stored.centroid_scales.get(), stored.num_centroids,
                      stored.dim, out.get(), run);
    return listed(out);
  });
  const int64_t width = few(rows), few_blocks = (rows + width - 1) / width;
  Array<float> table(few_blocks * stored.num_centroids * width);
  const auto fill = [&](Array<float>& out, Run run) {
    flmr::few_table(query.get(), rows, stored.centroids.get(), stored.centroid_scales.get(), stored.num_centroids,
                    stored.dim, out.get(), run);
  };
  everywhere("few_table", true, agree, callers, [&](Run run) {
    Array<float> out(table.count());
    fill(out, run);
    return listed(out);
  });
  fill(table, {flmr::simd_names().front().c_str(), 1});
  const float top = static_cast<float>(1 + random.below(255));
  everywhere("byte_table", true, agree, callers, [&](Run run) {
    Array<uint8_t> out(table.count());
    Array<float> lows(few_blocks * width);
    flmr::byte_table(table.get(), norms.get(), rows, stored.num_centroids, top, out.get(), lows.get(), run);
    return listed_numbers(out.get(), out.count());
  });
}

void fuzz_merge_rows(Random& random, int callers) {
  const int64_t rows = random.below(80), dim = 1 + random.below(30);
  const auto query = floats(random, rows * dim, false);
  if (random.one_in(2))  // rows that repeat
    for (int64_t r = 1; r < rows; ++r)
      if (random.one_in(2)) std::copy_n(query.get() + random.below(r) * dim, dim, query.get() + r * dim);
  const double most_lost = random.one_in(4) ? 2.0 : 0.01 * static_cast<double>(random.below(50));
  everywhere("merge_rows", true, Agree::kAll, callers, [&](Run run) {
    Array<float> merged(rows * dim);
    const int64_t kept = flmr::merge_rows(query.get(), rows, dim, most_lost, merged.get(), run.isa);
    if (kept > rows || (rows && kept < 1)) fail("merge_rows", "keeps more rows than there are, or none");
    return listed_numbers(merged.get(), kept * dim);
  });
}

void fuzz_score_flat(Random& random, int callers) {
  const int64_t dim = 1 + random.below(40), rows = random.below(12), num_items = random.below(40);
  const bool half = random.one_in(2), strange = half || random.one_in(6);
  int64_t total;
  const auto offsets = offsets_of(random, num_items, total, random.one_in(4));
  const auto halves = bits<uint16_t>(random, half ? total * dim : 0);
  const auto singles = floats(random, half ? 0 : total * dim, strange);
  const auto query = floats(random, rows * dim, strange);
  const auto items = wanted_items(random, num_items);
  const void* data = half ? static_cast<const void*>(halves.get()) : singles.get();
  const uint32_t* no_codes = nullptr;
  const bool rounded = random.one_in(2);  // products of pairs are added in another order
  const flmr::Precision precision = rounded ? flmr::Precision::kBfloat16 : flmr::Precision::kFloat32;
  const Agree agree = rounded && !strange ? Agree::kClose : unless(strange);
  everywhere("score_flat", sound_items(items, offsets, total, no_codes, 0), agree, callers, [&](Run run) {
    Array<float> out(items.count());
    const flmr::Ragged documents = {{data, half, total, dim}, offsets.get(), num_items};
    flmr::score_flat(query.get(), rows, documents, items.get(), items.count(), out.get(), precision, run);
    return listed(out);
  });
}

void fuzz_maxsim(Random& random, int callers) {
  const int64_t dim = 1 + random.below(40), queries = random.below(5), documents = random.below(12);
  const bool strange = random.one_in(6);
  int64_t rows, total;
  const auto query_offsets = offsets_of(random, queries, rows, random.one_in(8));
  const auto offsets = offsets_of(random, documents, total, random.one_in(8));
  const auto query = floats(random, rows * dim, strange), vectors = floats(random, total * dim, strange);
  bool sound = true;
  int64_t begin, end;
  for (int64_t i = 0; i < queries; ++i)
    sound = sound && sound_range(query_offsets, static_cast<uint32_t>(i), rows, begin, end);
  for (int64_t i = 0; i < documents; ++i)
    sound = sound && sound_range(offsets, static_cast<uint32_t>(i), total, begin, end);
  if (!sound && (queries == 0 || documents == 0)) return;  // nothing is followed, so either answer will do
  const bool rounded = random.one_in(2);
  const flmr::Precision precision = rounded ? flmr::Precision::kBfloat16 : flmr::Precision::kFloat32;
  everywhere("maxsim", sound, rounded && !strange ? Agree::kClose : unless(strange), callers, [&](Run run) {
    Array<float> out(queries * documents);
    flmr::maxsim({{query.get(), false, rows, dim}, query_offsets.get(), queries},
                 {{vectors.get(), false, total, dim}, offsets.get(), documents}, out.get(), precision, run);
    return listed(out);
  });
}

// Lists of items ascending as gaps, seven bits a byte; then perhaps damaged.
std::vector<uint8_t> lists_of(Random& random, const Array<int64_t>& counts, int64_t num_items, Array<int64_t>& offsets) {
  std::vector<uint8_t> lists;
  for (int64_t c = 0; c < counts.count() - 1; ++c) {
    int64_t item = random.below(3);
    for (int64_t i = counts[c], gap = item; i < counts[c + 1] && item < num_items; ++i) {
      for (uint64_t rest = static_cast<uint64_t>(gap);; rest >>= 7) {
        lists.push_back(static_cast<uint8_t>((rest & 127) | (rest > 127 ? 128 : 0)));
        if (rest <= 127) break;
      }
      gap = 1 + random.below(random.one_in(8) ? 400 : 9);
      item += gap;
    }
    offsets[c + 1] = static_cast<int64_t>(lists.size());
  }
  return lists;
}

bool sound_list(const uint8_t* next, const uint8_t* end, int64_t num_items) {
  for (uint64_t item = 0; next < end;) {
    uint64_t value = 0;
    int taken = 0;
    do {
      if (next == end || taken == 5) return false;
      value |= static_cast<uint64_t>(*next & 127) << (7 * taken++);
    } while (*next++ & 128);
    item += value;
    if (value > 0xFFFFFFFF || item >= static_cast<uint64_t>(num_items)) return false;
  }
  return true;
}

void fuzz_probe(Random& random, int callers) {
  const int64_t num_centroids = random.below(60), rows = random.below(8), num_items = random.below(random.one_in(3) ? 2000 : 100);
  const int64_t nprobe = 1 + random.below(random.one_in(4) ? num_centroids + 2 : 4);
  int64_t total;
  const auto counted = offsets_of(random, num_centroids, total, false);
  Array<int64_t> offsets(num_centroids + 1);
  const std::vector<uint8_t> made = lists_of(random, counted, num_items, offsets);
  const Array<uint8_t> lists(static_cast<int64_t>(made.size()));
  std::copy(made.begin(), made.end(), lists.get());
  if (random.one_in(4) && lists.count())
    for (int64_t i = 1 + random.below(8); i > 0; --i) {
      const int64_t place = random.below(lists.count());
      lists[place] = random.one_in(2) ? 255 : static_cast<uint8_t>(random.next());
    }
  if (random.one_in(4)) {
    const int64_t place = random.below(num_centroids + 1);
    offsets[place] = random.one_in(2) ? offsets[place] + random.below(5) - 2 : kOffsets[random.below(9)];
  }
  const auto scores = floats(random, rows * num_centroids, random.one_in(4));
  bool sound = true;  // of the lists that are probed, which a plain sort tells
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<int64_t> order;
    for (int64_t c = 0; c < num_centroids; ++c)
      if (scores[r * num_centroids + c] > -INFINITY) order.push_back(c);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return scores[r * num_centroids + a] > scores[r * num_centroids + b];
    });
    for (size_t i = 0; i < order.size() && static_cast<int64_t>(i) < nprobe; ++i) {
      int64_t begin, end;
      sound = sound && sound_range(offsets, static_cast<uint32_t>(order[i]), lists.count(), begin, end) &&
              sound_list(lists.get() + begin, lists.get() + end, num_items);
    }
  }
  everywhere("probe", sound, Agree::kAll, callers, [&](Run run) {
    const std::vector<uint32_t> found = flmr::probe(scores.get(), rows, num_centroids, offsets.get(), lists.get(),
                                                    lists.count(), nprobe, num_items, run);
    return std::vector<float>(found.begin(), found.end());
  });
}

void fuzz_assign(Random& random, int callers) {
  const int64_t dim = 1 + random.below(40), count = random.below(150), num_centroids = 1 + random.below(30);
  const auto vectors = floats(random, count * dim, false), centroids = floats(random, num_centroids * dim, false);
  everywhere("assign", true, Agree::kNone, callers, [&](Run run) {
    Array<uint32_t> codes(count);
    Array<float> distances(count);
    flmr::assign({vectors.get(), false, count, dim}, centroids.get(), num_centroids, codes.get(), distances.get(), run);
    for (int64_t t = 0; t < count; ++t)
      if (codes[t] >= num_centroids) fail("assign", "a code that is no centroid");
    return listed_numbers(codes.get(), count);
  });
}

void fuzz_assign_rounded(Random& random, int callers) {
  const int64_t dim = 1 + random.below(random.one_in(8) ? 300 : 40), count = random.below(150);
  const int64_t num_centroids = 1 + random.below(60);
  const bool strange = random.one_in(4);
  const auto vectors = floats(random, count * dim, strange);
  const auto centroids = bits<int8_t>(random, num_centroids * dim);
  for (int64_t i = 0; i < centroids.count(); ++i) centroids[i] = std::max<int8_t>(centroids[i], -127);
  auto scales = floats(random, num_centroids, false);
  for (int64_t c = 0; c < num_centroids; ++c) scales[c] = std::fabs(scales[c]);
  everywhere("assign_rounded", true, unless(strange), callers, [&](Run run) {
    Array<uint16_t> codes(count);
    Array<float> distances(count);
    flmr::assign_rounded({vectors.get(), false, count, dim}, centroids.get(), scales.get(), num_centroids, codes.get(),
                         distances.get(), run);
    for (int64_t t = 0; t < count; ++t)
      if (codes[t] >= num_centroids) fail("assign_rounded", "a code that is no centroid");
    return listed_numbers(codes.get(), count);
  });
}

void fuzz_means(Random& random, int callers) {
  const int64_t dim = 1 + random.below(40), count = random.below(150), num_centroids = 1 + random.below(60);
  const auto vectors = floats(random, count * dim, false);
  const auto codes = numbers_below<uint16_t>(random, count, num_centroids, random.one_in(3));
  bool sound = true;
  for (int64_t t = 0; t < count; ++t) sound = sound && codes[t] < num_centroids;
  everywhere("means", sound, Agree::kAll, callers, [&](Run run) {
    Array<float> means(num_centroids * dim);
    Array<int64_t> counts(num_centroids);
    flmr::means({vectors.get(), false, count, dim}, codes.get(), num_centroids, means.get(), counts.get(), run);
    return listed(means);
  });
}

void fuzz_multiply(Random& random, int callers) {
  const int64_t dim = 1 + random.below(random.one_in(8) ? 600 : 40), count = random.below(150), width = random.below(60);
  const bool strange = random.one_in(6);
  const auto vectors = floats(random, count * dim, strange), rows = floats(random, width * dim, false);
  everywhere("multiply", true, unless(strange), callers, [&](Run run) {
    Array<float> out(count * width);
    flmr::multiply({vectors.get(), false, count, dim}, {rows.get(), false, width, dim}, out.get(), run);
    return listed(out);
  });
}

void fuzz_pool(Random& random, int callers) {
  const int64_t dim = 1 + random.below(40), num_items = random.below(12);
  const int64_t factor = 1 + random.below(5), stretch = factor * (1 + random.below(30));
  int64_t total;
  const auto offsets = offsets_of(random, num_items, total, false);
  Array<int64_t> pooled_offsets(num_items + 1);
  for (int64_t i = 0; i < num_items; ++i)
    pooled_offsets[i + 1] = pooled_offsets[i] + (offsets[i + 1] - offsets[i] + factor - 1) / factor;
  const auto vectors = floats(random, total * dim, false);
  everywhere("pool", true, Agree::kAll, callers, [&](Run run) {
    Array<float> out(pooled_offsets[num_items] * dim);
    flmr::pool({{vectors.get(), false, total, dim}, offsets.get(), num_items}, factor, stretch, pooled_offsets.get(),
               out.get(), run);
    return listed(out);
  });
}

void fuzz_trellis(Random& random, int callers) {
  const int widths[] = {1, 2, 3, 4, 8};
  const int nbits = widths[random.below(5)], spread = 1 + static_cast<int>(random.below(60));
  const int64_t dim = 1 + random.below(80), count = random.below(70), bytes = (dim * nbits + 7) / 8;
  const bool strange = random.one_in(4);
  const auto levels = bits<int8_t>(random, nbits == 8 ? 256 : 64);
  Array<float> table = floats(random, 256, strange);
  if (!strange) {
    for (int64_t c = 0; c < 256; ++c) table[c] = std::fabs(table[c]);
    std::sort(table.get(), table.get() + 256);
    table[0] = 0;
  }
  const auto residuals = floats(random, count * dim, random.one_in(4));
  const auto packed = bits<uint8_t>(random, count * bytes), scales = bits<uint8_t>(random, count);
  everywhere("trellis_quantize", true, strange ? Agree::kNone : Agree::kAll, callers, [&](Run run) {
    Array<uint8_t> out(count * bytes), lengths(count);
    try {
      flmr::trellis_quantize(residuals.get(), count, dim, levels.get(), spread, nbits, table.get(), out.get(),
                             lengths.get(), run);
    } catch (const flmr::Refused&) {
      return std::vector<float>();  // not finite, or beyond the table
    }
    std::vector<float> all = listed_numbers(out.get(), out.count()), more = listed_numbers(lengths.get(), count);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  });
  everywhere("trellis_dequantize", true, strange ? Agree::kNone : Agree::kAll, callers, [&](Run run) {
    Array<float> out(count * dim);
    flmr::trellis_dequantize(packed.get(), scales.get(), count, dim, nbits, levels.get(), table.get(), out.get(), run);
    return listed(out);
  });
  Array<int8_t> unpacked(count * dim);
  flmr::trellis_unpack(packed.get(), count, dim, nbits, levels.get(), unpacked.get());
  ++counts["trellis_unpack accepted"];
}

void fuzz_topk(Random& random, int callers) {
  const int64_t count = random.below(random.one_in(20) ? 9000 : 400), k = random.below(random.one_in(4) ? 900 : 40);
  const auto scores = floats(random, count, random.one_in(2));
  for (int64_t i = 0; i < count; i += 1 + random.below(5)) scores[i] = std::round(scores[i]);  // ties
  const auto ranks = bits<int64_t>(random, count);
  const bool ranked = random.one_in(2);
  everywhere("topk", true, Agree::kAll, callers, [&](Run run) {
    Array<int64_t> rows(std::min(k, count));
    const int64_t found = flmr::topk(scores.get(), count, ranked ? ranks.get() : nullptr, k, rows.get(), run.isa);
    if (found > rows.count()) fail("topk", "more rows than were asked for");
    return listed_numbers(rows.get(), found);
  });
  everywhere("best_rows", true, Agree::kAll, callers, [&](Run) {
    Array<uint32_t> rows(std::min(k, count));
    return listed_numbers(rows.get(), flmr::best_rows(scores.get(), count, rows.count(), rows.get()));
  });
}

void execute(uint64_t seed, int callers) {
  current = seed;
  Random random(seed);
  void (*const ops[])(Random&, int) = {fuzz_score_codes, fuzz_score_codes, fuzz_estimate,    fuzz_rough,
                                       fuzz_estimate,    fuzz_sketch_scores,
                                       fuzz_rough,       fuzz_probe,       fuzz_probe,       fuzz_table,
                                       fuzz_merge_rows,  fuzz_score_flat,  fuzz_maxsim,
                                       fuzz_assign,      fuzz_assign_rounded, fuzz_means,    fuzz_trellis,
                                       fuzz_topk,        fuzz_pool,        fuzz_multiply};
  ops[random.below(std::size(ops))](random, callers);
}

// Reads one past the end of an array, as a kernel that trusts a code would.
int overrun() {
  const Array<float> centroids(8);
  volatile int64_t code = 8;
  std::printf("%g\n", static_cast<double>(centroids.get()[code]));
  return 0;
}

// Lets two workers of one call add to a plain number, neither before the other has begun.
int race() {
  int64_t total = 0;
  std::atomic<int> begun{0};
  flmr::share(2, 2, [&](flmr::Units& units) {
    for (int64_t unit; units.take(unit);) {
      begun.fetch_add(1, std::memory_order_relaxed);
      while (begun.load(std::memory_order_relaxed) < 2) std::this_thread::yield();
      for (int i = 0; i < 1000; ++i) total += unit + i;
    }
  });
  std::printf("%lld\n", static_cast<long long>(total));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 0;
  uint64_t count = 0, seed = 0;
  int callers = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--overrun") return overrun();
    if (name == "--race") return race();
    if (i + 1 == argc) return std::fprintf(stderr, "fuzz: %s needs a value\n", argv[i]), 2;
    const char* value = argv[++i];
    if (name == "--seconds") seconds = std::atof(value);
    else if (name == "--count") count = std::strtoull(value, nullptr, 10);
    else if (name == "--seed") seed = std::strtoull(value, nullptr, 10);
    else if (name == "--callers") callers = std::max(1, std::atoi(value));
    else return std::fprintf(stderr, "fuzz: %s is no option\n", name.c_str()), 2;
  }
  if (seconds <= 0 && count == 0) return std::fprintf(stderr, "fuzz: say --seconds or --count\n"), 2;
  using Clock = std::chrono::steady_clock;
  const auto began = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  uint64_t done = 0;
  while ((count == 0 || done < count) && (seconds <= 0 || elapsed() < seconds)) execute(seed + done++, callers);
  std::printf("{\"campaign\": \"kernels\", \"executions\": %llu, \"first_seed\": %llu, \"seconds\": %.1f",
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(seed), elapsed());
  std::printf(",\n \"instruction sets\": \"");
  for (const std::string& name : flmr::simd_names()) std::printf("%s ", name.c_str());
  std::printf("\",\n \"digest\": \"%016llx\"", static_cast<unsigned long long>(digest));
  for (const auto& [name, times] : counts) std::printf(",\n \"%s\": %lld", name.c_str(), static_cast<long long>(times));
  std::printf("}\n");
  return 0;
}
