// The levels of a codec as the byte loops look them up.

#pragma once
#include <cstdint>
#include <vector>

namespace flmr {

// The levels + 128, and the same for several dimensions at once where an instruction set looks them up in memory.
class Levels {
 public:
  Levels(const int8_t* levels, int nbits) {
    for (int w = 0; w < 64; ++w) table_[w] = static_cast<uint8_t>(levels[w] + 128);
    if (nbits > 4) return;
    const int dims = nbits <= 2 ? 4 : 2, key_bits = dims * nbits + 6 - nbits;
    wide_.resize(static_cast<size_t>(dims) << key_bits);
    for (size_t key = 0; key < size_t{1} << key_bits; ++key)
      for (int j = 0; j < dims; ++j) wide_[key * static_cast<size_t>(dims) + static_cast<size_t>(j)] = table_[(key >> (j * nbits)) & 63];
  }
  const uint8_t* table() const { return table_; }
  const uint8_t* wide() const { return wide_.data(); }

 private:
  alignas(64) uint8_t table_[64];
  std::vector<uint8_t> wide_;
};

inline void fetch(const void* place, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(place) + i);
}

}  // namespace flmr
