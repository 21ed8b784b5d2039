// What csrc/cuda/device.h offers, on a CPU: each thread of a block is a fiber, and what threads do together happens
// when the last of them has come.  Stricter than a GPU: copies land when they are waited for, shared memory holds
// poison before, addresses and alignments are checked, and the order in which warps run is drawn anew.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct float4 {
  float x, y, z, w;
};

namespace emulator {

extern dim3* thread;  // of the fiber that runs
using Operation = void (*)(void* const (&lanes)[32]);

[[noreturn]] void fail(const char* format, ...);
void meet(const char* name, Operation operation, void* argument);  // all 32 lanes of a warp
void check_shared(const char* name, const void* address, size_t bytes, size_t alignment);
void check_pieces(const void* const (&addresses)[32]);  // counts bank conflicts of 8 lanes at a time
void copy(void* shared, const void* global, int bytes, int valid);
int run(dim3 grid, int threads, size_t shared_bytes, const std::function<void()>& kernel);
float float_of_half(uint16_t bits);
float float_of_float8(uint8_t bits);

}  // namespace emulator

#define threadIdx (*emulator::thread)
extern dim3 blockIdx, blockDim, gridDim;

// ---- the CUDA runtime, as far as the library uses it

using cudaError_t = int;
using cudaStream_t = void*;
enum { cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor
};

cudaError_t cudaMalloc(void** pointer, size_t bytes);
template <class T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), bytes);
}
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* all_bytes);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int device);
const char* cudaGetErrorString(cudaError_t status);
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  if (bytes) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy2D(void* to, size_t to_step, const void* from, size_t from_step, size_t width,
                                size_t height, cudaMemcpyKind) {
  for (size_t row = 0; row < height; ++row)
    std::memcpy(static_cast<char*>(to) + row * to_step, static_cast<const char*>(from) + row * from_step, width);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  if (bytes) std::memset(to, value, bytes);
  return cudaSuccess;
}

// ---- device.h

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, void*,
                   const Arguments&... arguments) {
  return emulator::run(grid, threads, shared_bytes, [&] { kernel(arguments...); });
}

unsigned char* shared_memory();
uint32_t shared_address(const void* pointer);
void barrier();

template <class T>
T shuffle_xor(T value, int step) {
  struct Lane {
    T in, out;
    int step;
  } lane{value, value, step};
  emulator::meet(
      "shuffle",
      [](void* const(&lanes)[32]) {
        for (int i = 0; i < 32; ++i) {
          Lane& to = *static_cast<Lane*>(lanes[i]);
          to.out = static_cast<Lane*>(lanes[i ^ to.step])->in;
        }
      },
      &lane);
  return lane.out;
}

inline uint32_t vote(bool value) {
  struct Lane {
    bool in;
    uint32_t out;
  } lane{value, 0};
  emulator::meet(
      "vote",
      [](void* const(&lanes)[32]) {
        uint32_t all = 0;
        for (int i = 0; i < 32; ++i) all |= uint32_t(static_cast<Lane*>(lanes[i])->in) << i;
        for (void* each : lanes) static_cast<Lane*>(each)->out = all;
      },
      &lane);
  return lane.out;
}

inline int count_bits(uint32_t bits) { return __builtin_popcount(bits); }
inline float greater(float a, float b) { return std::isnan(a) || std::isnan(b) ? NAN : a > b ? a : b; }
inline void add_atomically(float* to, float value) { *to += value; }

inline float as_float(float value) { return value; }
inline float as_float(int32_t value) { return static_cast<float>(value); }
inline float as_float(Half value) { return emulator::float_of_half(value.bits); }
inline float as_float(BFloat value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

template <int bytes>
void copy_async(void* shared, const void* global, int valid) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "what cp.async copies");
  emulator::copy(shared, global, bytes, valid);
}
void copy_commit();
void copy_wait_for(int pending);
template <int pending>
void copy_wait() {
  copy_wait_for(pending);
}

void load_matrices(uint32_t (&out)[4], const void* shared);

namespace emulator {

inline float decode(Half, const unsigned char* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return float_of_half(bits);
}
inline float decode(BFloat, const unsigned char* at) {
  BFloat value;
  std::memcpy(&value, at, 2);
  return as_float(value);
}
inline int32_t decode(int8_t, const unsigned char* at) { return static_cast<int8_t>(*at); }
inline float decode(Float8, const unsigned char* at) { return float_of_float8(*at); }

template <class Sum>
struct Wide {
  using type = double;
};
template <>
struct Wide<int32_t> {
  using type = int64_t;
};

template <class T>
struct MultiplyLane {
  typename SumOf<T>::type* c;
  uint32_t a[4], b[2];
};

// c += a b for the 32 lanes, by the layout that stands in device.h.
template <class T>
void multiply_warp(void* const (&lanes)[32]) {
  using Sum = typename SumOf<T>::type;
  constexpr int kElements = 32 / sizeof(T), kInRegister = 4 / sizeof(T);
  Sum a[16][kElements], b[8][kElements];
  for (int l = 0; l < 32; ++l) {
    const auto& lane = *static_cast<MultiplyLane<T>*>(lanes[l]);
    const int g = l / 4, t = l % 4;
    for (int e = 0; e < kInRegister; ++e) {
      const auto part = [&](const uint32_t& word) {
        return decode(T{}, reinterpret_cast<const unsigned char*>(&word) + e * sizeof(T));
      };
      const int low = t * kInRegister + e, high = kElements / 2 + low;
      a[g][low] = part(lane.a[0]), a[g + 8][low] = part(lane.a[1]);
      a[g][high] = part(lane.a[2]), a[g + 8][high] = part(lane.a[3]);
      b[g][low] = part(lane.b[0]), b[g][high] = part(lane.b[1]);
    }
  }
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < 4; ++i) {
      Sum& c = static_cast<MultiplyLane<T>*>(lanes[l])->c[i];
      typename Wide<Sum>::type sum = c;
      for (int k = 0; k < kElements; ++k)
        sum += typename Wide<Sum>::type(a[l / 4 + i / 2 * 8][k]) * b[l % 4 * 2 + i % 2][k];
      c = static_cast<Sum>(sum);
    }
}

// A lane's share of one product of a warpgroup, until it is waited for.
struct WarpgroupLane {
  void* sums;
  uint64_t queries, documents;
  bool add;
};
void warpgroup_issue(Operation product, WarpgroupLane& lane);
void warpgroup_join(void* sums);
const unsigned char* warpgroup_bytes(uint64_t descriptor, int row, int byte);  // in shared memory, by the swizzle
int warp_of_warpgroup();

// c = a b or c += a b for the 16 rows of the warp that runs, by the layout that stands in warpgroup.h.
template <class T>
void warpgroup_product(void* const (&lanes)[32]) {
  using Sum = typename SumOf<T>::type;
  const auto& first = *static_cast<WarpgroupLane*>(lanes[0]);
  constexpr int kElements = 32 / sizeof(T), kColumns = 128;
  Sum a[16][kElements], b[kColumns][kElements];
  for (int k = 0; k < kElements; ++k) {
    for (int row = 0; row < 16; ++row)
      a[row][k] = decode(T{}, warpgroup_bytes(first.queries, warp_of_warpgroup() * 16 + row, k * sizeof(T)));
    for (int column = 0; column < kColumns; ++column)
      b[column][k] = decode(T{}, warpgroup_bytes(first.documents, column, k * sizeof(T)));
  }
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < kColumns / 2; ++i) {
      Sum& c = static_cast<Sum*>(static_cast<WarpgroupLane*>(lanes[l])->sums)[i];
      typename Wide<Sum>::type sum = first.add ? c : 0;
      const int row = l / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + l % 4 * 2 + i % 2;
      for (int k = 0; k < kElements; ++k) sum += typename Wide<Sum>::type(a[row][k]) * b[column][k];
      c = static_cast<Sum>(sum);
    }
}

}  // namespace emulator

template <class T>
void multiply_add(typename SumOf<T>::type (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulator::MultiplyLane<T> lane{c, {a[0], a[1], a[2], a[3]}, {b0, b1}};
  emulator::meet("mma", emulator::multiply_warp<T>, &lane);
}

// ---- warpgroup.h

void fence_copies();
void warpgroup_begin();
void warpgroup_commit();
template <class T>
void warpgroup_multiply(typename SumOf<T>::type (&c)[16][4], uint64_t queries, uint64_t documents, bool add) {
  emulator::WarpgroupLane lane{c, queries, documents, add};
  emulator::warpgroup_issue(emulator::warpgroup_product<T>, lane);
}
template <class Sum>
void warpgroup_wait(Sum (&c)[16][4]) {
  emulator::warpgroup_join(c);
}
