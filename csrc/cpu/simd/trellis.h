// The best paths of 32 residuals through a trellis, one residual a lane: included by body.h.
//
// The search is all integer and no lane looks at another, so that all instruction sets give the same bits.  GCC's and
// Clang's vector types stand for the registers: other types than Vec, because costs of 16 bits double the lanes.

#include <cstdint>

#include "simd.h"

namespace {

#if defined(__AVX512BW__)
constexpr int kCostBytes = 64;
#elif defined(__AVX2__)
constexpr int kCostBytes = 32;
#else
constexpr int kCostBytes = 16;
#endif
constexpr int kCostLanes = kCostBytes / 2;

typedef uint16_t Costs __attribute__((vector_size(kCostBytes)));
typedef uint8_t Choices __attribute__((vector_size(kCostLanes)));

__attribute__((always_inline)) static inline Costs every_lane(uint16_t cost) {
  Costs costs = {};
  for (int p = 0; p < kCostLanes; ++p) costs[p] = cost;
  return costs;
}

// sum += cost, but no further than 65,535: a path that dear is never the best of a residual that its scale fits.
__attribute__((always_inline)) static inline void add_saturated(Costs& sum, const Costs& cost) {
#if defined(__AVX512BW__)
  sum = reinterpret_cast<Costs>(_mm512_adds_epu16(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(cost)));
#elif defined(__AVX2__)
  sum = reinterpret_cast<Costs>(_mm256_adds_epu16(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(cost)));
#else
  sum += cost;
  sum |= reinterpret_cast<Costs>(sum < cost);
#endif
}

__attribute__((always_inline)) static inline void take_least(Costs& least, const Costs& cost) {
#if defined(__AVX2__) && !defined(__AVX512BW__)
  least = reinterpret_cast<Costs>(_mm256_min_epu16(reinterpret_cast<__m256i>(least), reinterpret_cast<__m256i>(cost)));
#else
  least = cost < least ? cost : least;
#endif
}

// Forward: the cheapest way into every state at every dimension, as the number of the branch it came by.
template <int nbits>
static void advance(const int16_t* values, int64_t dim, const int8_t* levels, uint8_t* choices, uint8_t* state) {
  constexpr int branches = 1 << nbits;
  constexpr int states = 64 >> nbits;
  Costs spread[64];  // each level in every lane: a load is cheaper than a broadcast of 16 bits
  for (int w = 0; w < 64; ++w) spread[w] = every_lane(static_cast<uint16_t>(levels[w]));
  Costs cost[states];
  for (int s = 0; s < states; ++s) cost[s] = every_lane(s == 0 ? 0 : 65535);

  for (int64_t d = 0; d < dim; ++d) {
    Costs value, next[states];
    __builtin_memcpy(&value, values + d * flmr::kPaths, sizeof value);
#pragma GCC unroll 32
    for (int s = 0; s < states; ++s) {
      Costs best = {}, choice = {};
#pragma GCC unroll 16
      for (int b = 0; b < branches; ++b) {
        const int w = s * branches + b;
        Costs sum = value - spread[w];
        sum *= sum;
        add_saturated(sum, cost[w % states]);
        if (b == 0) {
          best = sum;
        } else {
          choice = sum < best ? every_lane(static_cast<uint16_t>(b)) : choice;
          take_least(best, sum);
        }
      }
      next[s] = best;
      const Choices narrow = __builtin_convertvector(choice, Choices);
      __builtin_memcpy(choices + (d * states + s) * flmr::kPaths, &narrow, sizeof narrow);
    }
    // Only differences matter.  Until every state has been reached (6 steps at 1 bit) the unreached must stay dear.
    if (d % 2 == 1 && d > 6) {
      Costs least = next[0];
#pragma GCC unroll 32
      for (int s = 1; s < states; ++s) take_least(least, next[s]);
#pragma GCC unroll 32
      for (int s = 0; s < states; ++s) next[s] -= least;
    }
#pragma GCC unroll 32
    for (int s = 0; s < states; ++s) cost[s] = next[s];
  }
  for (int p = 0; p < kCostLanes; ++p) {
    state[p] = 0;
    for (int s = 1; s < states; ++s)
      if (cost[s][p] < cost[state[p]][p]) state[p] = static_cast<uint8_t>(s);
  }
}

template <int nbits>
static void walk_trellis(const int16_t* values, int64_t dim, const int8_t* levels, uint8_t* choices,
                         uint8_t* windows) {
  constexpr int branches = 1 << nbits;
  constexpr int states = 64 >> nbits;
  uint8_t state[flmr::kPaths];
  for (int p = 0; p < flmr::kPaths; p += kCostLanes) advance<nbits>(values + p, dim, levels, choices + p, state + p);
  for (int64_t d = dim - 1; d >= 0; --d)
    for (int p = 0; p < flmr::kPaths; ++p) {
      const int w = state[p] * branches + choices[(d * states + state[p]) * flmr::kPaths + p];
      windows[d * flmr::kPaths + p] = static_cast<uint8_t>(w);
      state[p] = static_cast<uint8_t>(w % states);
    }
}

// Eight dimensions of a stream are nbits bytes.
template <int nbits>
static void pack_windows(const uint8_t* windows, int64_t dim, uint8_t* packed) {
  for (int64_t d = 0; d < dim; d += 8, packed += nbits * flmr::kPaths) {
    uint32_t words[flmr::kPaths] = {};
    const int count = dim - d < 8 ? static_cast<int>(dim - d) : 8;
    for (int i = 0; i < count; ++i)
      for (int p = 0; p < flmr::kPaths; ++p)
        words[p] |= static_cast<uint32_t>(windows[(d + i) * flmr::kPaths + p] >> (6 - nbits)) << (i * nbits);
    for (int b = 0; b < nbits; ++b)
      for (int p = 0; p < flmr::kPaths; ++p) packed[b * flmr::kPaths + p] = static_cast<uint8_t>(words[p] >> (8 * b));
  }
}

template <int nbits>
static void seek_paths(const flmr::Paths& paths, int64_t dim, const int8_t* levels) {
  int largest = 0;
  for (int w = 0; w < 64; ++w) {
    const int level = levels[w] < 0 ? -levels[w] : levels[w];
    largest = level > largest ? level : largest;
  }
  const float bound = static_cast<float>(255 - largest);  // the square of a difference is to fit 16 bits
  for (int64_t d = 0; d < dim; ++d)
    for (int p = 0; p < flmr::kPaths; ++p) {
      float value = paths.residuals[d * flmr::kPaths + p] * paths.factors[p];
      value = value < -bound ? -bound : value;
      value = value > bound ? bound : value;
      // The nearest whole number, halves upwards.
      paths.values[d * flmr::kPaths + p] = static_cast<int16_t>(static_cast<int>(value + 256.5f) - 256);
    }
  walk_trellis<nbits>(paths.values, dim, levels, paths.choices, paths.windows);
  float along[flmr::kPaths] = {}, length[flmr::kPaths] = {};
  for (int64_t d = 0; d < dim; ++d) {
    int8_t chosen[flmr::kPaths];
    for (int p = 0; p < flmr::kPaths; ++p) chosen[p] = levels[paths.windows[d * flmr::kPaths + p]];
    for (int p = 0; p < flmr::kPaths; ++p) {
      const float level = chosen[p];
      along[p] += paths.residuals[d * flmr::kPaths + p] * level;
      length[p] += level * level;
    }
  }
  for (int p = 0; p < flmr::kPaths; ++p) paths.fitted[p] = length[p] > 0 ? along[p] / length[p] : 0.0f;
  pack_windows<nbits>(paths.windows, dim, paths.packed);
}

static void seek(const flmr::Paths& paths, int64_t dim, const int8_t* levels, int nbits) {
  switch (nbits) {
    case 1: return seek_paths<1>(paths, dim, levels);
    case 2: return seek_paths<2>(paths, dim, levels);
    case 3: return seek_paths<3>(paths, dim, levels);
    case 4: return seek_paths<4>(paths, dim, levels);
    default: return;
  }
}

}  // namespace
