// The few things of a GPU that the kernels use, by our names: copies into shared memory, matrix fragments, warps. Knows
// PTX, nothing of MaxSim.  With FLMR_EMULATOR the same names come from tests/cuda/emulator, which runs the kernels on a
// CPU.
//
// Fragments, by the PTX ISA's figures (section "Warp-level matrix instructions", mma.m16n8k16 of 16-bit and m16n8k32 of
// 8-bit types).  Lane l, g = l / 4, t = l % 4, bytes counted along k, so that one layout serves both widths of element:
//   a[0] row g     bytes 4t .. 4t+3       a[2] row g      bytes 16+4t ..
//   a[1] row g + 8 bytes 4t ..            a[3] row g + 8  bytes 16+4t ..
//   b[0] column g  bytes 4t ..            b[1] column g   bytes 16+4t ..
//   c[0], c[1] row g, columns 2t, 2t+1    c[2], c[3] row g + 8, the same columns
// ldmatrix.x4: lanes 8i .. 8i+7 give the 16-byte rows of matrix i; lane l gets bytes 4t .. of row g of each of the
// four. wgmma.m64n128: warp w of four holds rows 16w .. 16w+15 as c above, d[4j .. 4j+3] for the columns 8j .. 8j+7.

#pragma once

#include <stdint.h>

struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};
struct Float8 {
  uint8_t bits;
};

// Sums of products: whole numbers stay whole.
template <class T>
struct SumOf {
  using type = float;
};
template <>
struct SumOf<int8_t> {
  using type = int32_t;
};

// 8 rows of 128 bytes, rows 1,024 bytes apart in groups of 8, 16-byte pieces swapped by the row's number: what wgmma
// calls 128-byte swizzle.  Rows of a fragment never meet in a bank.
constexpr int kSlabBytes = 128;

#ifdef FLMR_EMULATOR

#include "emulator.h"

#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, void* stream,
                   const Arguments&... arguments) {
  cudaGetLastError();  // what an earlier call left behind is no error of this launch
  if (shared_bytes > 48 << 10) {
    // The limit belongs to the kernel: it is raised once to all that the device has, and never lowered, as another
    // thread may be about to launch the same kernel with more.
    cudaFuncAttributes now;
    cudaError_t status = cudaFuncGetAttributes(&now, kernel);
    if (status == cudaSuccess && static_cast<size_t>(now.maxDynamicSharedSizeBytes) < shared_bytes) {
      int device = 0, most = 0;
      status = cudaGetDevice(&device);
      if (status == cudaSuccess)
        status = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
      if (status == cudaSuccess)
        status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      most - static_cast<int>(now.sharedSizeBytes));
    }
    if (status != cudaSuccess) return status;
  }
  kernel<<<grid, threads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(arguments...);
  return cudaGetLastError();
}

__device__ __forceinline__ unsigned char* shared_memory() {
  extern __shared__ __align__(1024) unsigned char memory[];
  return memory;
}

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier() { __syncthreads(); }

template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int step) {
  return __shfl_xor_sync(0xffffffffu, value, step);
}

__device__ __forceinline__ uint32_t vote(bool value) { return __ballot_sync(0xffffffffu, value); }

__device__ __forceinline__ int count_bits(uint32_t bits) { return __popc(bits); }

// The greater of two; NaN if either is.
__device__ __forceinline__ float greater(float a, float b) {
  float c;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
  return c;
}

__device__ __forceinline__ void add_atomically(float* to, float value) { atomicAdd(to, value); }

__device__ __forceinline__ float as_float(float value) { return value; }
__device__ __forceinline__ float as_float(Half value) { return __half2float(__ushort_as_half(value.bits)); }
__device__ __forceinline__ float as_float(BFloat value) { return __uint_as_float(uint32_t(value.bits) << 16); }

// The first `valid` of `bytes` (4, 8 or 16; both sides so aligned) go to shared memory, zeros after them; some time
// before a copy_wait that covers the commit after it.
template <int bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, int valid) {
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(valid)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(valid),
                 "n"(bytes)
                 : "memory");
  }
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All but the latest `pending` commits of this thread are in shared memory, for this thread; a barrier makes it for
// all.
template <int pending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

__device__ __forceinline__ void load_matrices(uint32_t (&out)[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(shared))
               : "memory");
}

#define FLMR_MMA(types, constraint)                                                                \
  asm("mma.sync.aligned." types " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+" constraint(c[0]), "+" constraint(c[1]), "+" constraint(c[2]), "+" constraint(c[3])     \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

// c += a b over 32 bytes of k.
template <class T>
__device__ __forceinline__ void multiply_add(typename SumOf<T>::type (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1);
template <>
__device__ __forceinline__ void multiply_add<Half>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  FLMR_MMA("m16n8k16.row.col.f32.f16.f16.f32", "f");
}
template <>
__device__ __forceinline__ void multiply_add<BFloat>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  FLMR_MMA("m16n8k16.row.col.f32.bf16.bf16.f32", "f");
}
template <>
__device__ __forceinline__ void multiply_add<int8_t>(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                     uint32_t b1) {
  FLMR_MMA("m16n8k32.row.col.s32.s8.s8.s32", "r");
}
template <>
__device__ __forceinline__ void multiply_add<Float8>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 890
  FLMR_MMA("m16n8k32.row.col.f32.e4m3.e4m3.f32", "f");
#else
  __trap();  // the host refuses such devices
#endif
}

#endif
