// Warpgroup-level matrix products (wgmma, compute capability 9.0 alone: sm_90a), by our names.  Knows PTX, nothing of
// MaxSim.
//
// Operands lie in shared memory as slabs do (device.h): rows of 128 bytes along k, 16-byte pieces swapped by the row's
// number, eight rows in 1,024 bytes, from an address divisible by 1,024.  Their descriptor, by the PTX ISA ("Matrix
// descriptor format"): bits 0-13 address / 16, 32-45 bytes from eight rows to the next eight / 16, 62-63 swizzle (1:
// 128 bytes); the leading offset (16-29) does not count where rows are as wide as the swizzle.  A step of 32 bytes
// along k adds 2. Warp w of four holds rows 16w .. 16w+15 of the result as mma's c, sums[j] the columns 8j .. 8j+7.

#pragma once

#include "device.h"

constexpr int kWarpgroupRows = 64, kWarpgroupColumns = 128;

__device__ __forceinline__ uint64_t descriptor_of(const void* shared) {
  return uint64_t(shared_address(shared) & 0x3ffff) >> 4 | uint64_t(1) << 16 | uint64_t(8 * kSlabBytes >> 4) << 32 |
         uint64_t(1) << 62;
}

#ifndef FLMR_EMULATOR

// What this thread has copied to shared memory may be read by wgmma after the next barrier.
__device__ __forceinline__ void fence_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// The registers of the sums are settled: before the first product and after they were touched.
__device__ __forceinline__ void warpgroup_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

#define FLMR_SUMS4(kind, j) "+" kind(c[j][0]), "+" kind(c[j][1]), "+" kind(c[j][2]), "+" kind(c[j][3])
#define FLMR_SUMS16(kind, j) \
  FLMR_SUMS4(kind, j), FLMR_SUMS4(kind, j + 1), FLMR_SUMS4(kind, j + 2), FLMR_SUMS4(kind, j + 3)
#define FLMR_WGMMA(types, kind, rest)                                                                              \
  asm volatile(                                                                                                    \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                                                 \
      "wgmma.mma_async.sync.aligned." types                                                                        \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                   \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                           \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                           \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p" rest ";\n}\n" \
      : FLMR_SUMS16(kind, 0), FLMR_SUMS16(kind, 4), FLMR_SUMS16(kind, 8), FLMR_SUMS16(kind, 12)                    \
      : "l"(queries), "l"(documents), "r"(int(add)))

// c = a b, or c += a b, over 32 bytes of k: 64 rows by 128 columns, some time before a wait that covers the commit
// after it.
template <class T>
__device__ __forceinline__ void warpgroup_multiply(typename SumOf<T>::type (&c)[16][4], uint64_t queries,
                                                   uint64_t documents, bool add);
template <>
__device__ __forceinline__ void warpgroup_multiply<Half>(float (&c)[16][4], uint64_t queries, uint64_t documents,
                                                         bool add) {
  FLMR_WGMMA("m64n128k16.f32.f16.f16", "f", ", 1, 1, 0, 0");
}
template <>
__device__ __forceinline__ void warpgroup_multiply<BFloat>(float (&c)[16][4], uint64_t queries, uint64_t documents,
                                                           bool add) {
  FLMR_WGMMA("m64n128k16.f32.bf16.bf16", "f", ", 1, 1, 0, 0");
}
template <>
__device__ __forceinline__ void warpgroup_multiply<int8_t>(int32_t (&c)[16][4], uint64_t queries, uint64_t documents,
                                                           bool add) {
  FLMR_WGMMA("m64n128k32.s32.s8.s8", "r", "");
}
template <>
__device__ __forceinline__ void warpgroup_multiply<Float8>(float (&c)[16][4], uint64_t queries, uint64_t documents,
                                                           bool add) {
  FLMR_WGMMA("m64n128k32.f32.e4m3.e4m3", "f", ", 1, 1");
}

__device__ __forceinline__ void hold(float& value) { asm volatile("" : "+f"(value)::"memory"); }
__device__ __forceinline__ void hold(int32_t& value) { asm volatile("" : "+r"(value)::"memory"); }

// All that was committed is in the sums; the compiler may not read them before.
template <class Sum>
__device__ __forceinline__ void warpgroup_wait(Sum (&c)[16][4]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int j = 0; j < 16; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) hold(c[j][e]);
}

#endif
