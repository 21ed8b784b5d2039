// Dot products of a panel's rows with a tile's tokens, a cell of 32 bits at a time.  Included, in an unnamed namespace,
// after Vec, kLanes, kSums (how many vectors are summed into at once: 24 of AVX-512's and NEON's 32 registers, 12 of
// AVX2's 16) and load, store, broadcast and add.
//
// Product::add(rows, cell, sum) is sum + rows * cell.  kSums tokens times vectors exceed the 8 to 12 products that must
// be in flight to hide their latency, and leave registers for the rows and the cell.

#pragma once

// Rounding errors grow along one chain: 256 cells, then the chains are added.
constexpr int64_t kDepth = 256;

template <class Product, int vectors, int tokens>
static inline void dots_tile(const float* panel, const float* tile, int64_t cells, float* out) {
  constexpr int width = vectors * kLanes;
  for (int64_t begin = 0; begin < cells; begin += kDepth) {
    const int64_t end = begin + kDepth < cells ? begin + kDepth : cells;
    Vec sums[tokens][vectors];
#pragma GCC unroll 32
    for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 32
      for (int v = 0; v < vectors; ++v) sums[t][v] = broadcast(0.0f);
    for (int64_t c = begin; c < end; ++c) {
      Vec rows[vectors];
#pragma GCC unroll 32
      for (int v = 0; v < vectors; ++v) rows[v] = load(panel + c * width + v * kLanes);
#pragma GCC unroll 32
      for (int t = 0; t < tokens; ++t) {
        const Vec cell = broadcast(tile[t * cells + c]);
#pragma GCC unroll 32
        for (int v = 0; v < vectors; ++v) sums[t][v] = Product::add(rows[v], cell, sums[t][v]);
      }
    }
#pragma GCC unroll 32
    for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 32
      for (int v = 0; v < vectors; ++v) {
        float* place = out + t * width + v * kLanes;
        store(place, begin == 0 ? sums[t][v] : add(load(place), sums[t][v]));
      }
  }
}

// As many tokens at a time as there are sums for, then fewer.
template <class Product, int vectors, int tokens>
static inline void dots_panel(const float* panel, const float* tile, int64_t count, int64_t cells, float* out) {
  int64_t t = 0;
  for (; t + tokens <= count; t += tokens)
    dots_tile<Product, vectors, tokens>(panel, tile + t * cells, cells, out + t * vectors * kLanes);
  if constexpr (tokens > 1)
    dots_panel<Product, vectors, tokens / 2>(panel, tile + t * cells, count - t, cells, out + t * vectors * kLanes);
}

template <class Product>
static void dots_of(const float* panel, int vectors, const float* tile, int64_t tokens, int64_t cells, float* out) {
  switch (vectors) {
    case 1: return dots_panel<Product, 1, kSums>(panel, tile, tokens, cells, out);
    case 2: return dots_panel<Product, 2, kSums / 2>(panel, tile, tokens, cells, out);
    case 3: if constexpr (kPanelVectors >= 3) return dots_panel<Product, 3, kSums / 3>(panel, tile, tokens, cells, out); return;
    case 4: if constexpr (kPanelVectors >= 4) return dots_panel<Product, 4, kSums / 4>(panel, tile, tokens, cells, out); return;
    default: return;
  }
}
