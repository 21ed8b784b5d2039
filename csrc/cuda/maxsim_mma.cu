// MaxSim forward with warp-level matrix products (mma.sync; float32 by plain multiply-adds in the same layout).  A
// block holds a tile of query rows and streams documents past it.  Knows how a slab is multiplied; streaming and maxima
// stand in stream.h and best.h.

#include "best.h"
#include "maxsim.h"

namespace {

// Warps stand kRows / 32 high, each 32 rows, and kAcross wide: 16 columns each in turn, so that a short tile is shared.
template <int kRows>
struct Shape {
  static constexpr int kHigh = kRows / 32, kAcross = kRows == 32 ? 4 : 2, kThreads = kHigh * kAcross * 32;
  static constexpr int kGroups = kTileRows / kAcross / 8;  // of eight columns
  static constexpr int kBlocks = 512 / kThreads;           // on a multiprocessor: 128 registers a thread
};

// sums += 32 query rows times this warp's columns, over one slab.  full: all kTileRows are there, and no branch stands
// in the way of products that overlap.
template <class T, int kAcross, bool full, int kGroups>
__device__ __forceinline__ void multiply(typename SumOf<T>::type (&sums)[2][kGroups][4], const unsigned char* queries,
                                         const unsigned char* documents, int across, int rows, int bytes) {
  const int lane = threadIdx.x % 32;
  const int query_row = lane % 16, document_row = lane % 8 + lane / 16 * 8;
  queries += query_row * kSlabBytes;
  documents += document_row * kSlabBytes;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (k * 32 >= bytes) break;
    uint32_t a[2][4];
    const int query_piece = (k * 2 + lane / 16) ^ (query_row % 8);
    load_matrices(a[0], queries + query_piece * 16);
    load_matrices(a[1], queries + 16 * kSlabBytes + query_piece * 16);
    const int document_piece = (k * 2 + lane / 8 % 2) ^ (document_row % 8);
#pragma unroll
    for (int j = 0; j < kGroups; j += 2) {
      const int first = (j / 2 * kAcross + across) * 16;
      if (!full && first >= rows) continue;
      uint32_t b[4];
      load_matrices(b, documents + first * kSlabBytes + document_piece * 16);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_add<T>(sums[i][j], a[i], b[0], b[1]);
        multiply_add<T>(sums[i][j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// The same for float32: a chain of multiply-adds in the order of the dimensions, as plain float32 is.
template <int kAcross, int kGroups>
__device__ __forceinline__ void multiply_float(float (&sums)[2][kGroups][4], const unsigned char* queries,
                                               const unsigned char* documents, int across, int rows, int bytes) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (int piece = 0; piece * 16 < bytes; ++piece) {
    float4 a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      a[i] = *reinterpret_cast<const float4*>(queries + (i * 8 + g) * kSlabBytes + (piece ^ g) * 16);
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      const int first = (j / 2 * kAcross + across) * 16 + j % 2 * 8;
      if (first >= rows) continue;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = t * 2 + e;
        const float4 b = *reinterpret_cast<const float4*>(documents + (first + row) * kSlabBytes + (piece ^ row) * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& sum = sums[i / 2][j][i % 2 * 2 + e];
          sum = fmaf(a[i].x, b.x, sum);
          sum = fmaf(a[i].y, b.y, sum);
          sum = fmaf(a[i].z, b.z, sum);
          sum = fmaf(a[i].w, b.w, sum);
        }
      }
    }
  }
}

// A warp's rows and columns of a slab.
template <class T, int kRows>
struct Multiply {
  using S = Shape<kRows>;
  typename SumOf<T>::type (&sums)[2][S::kGroups][4];
  int first_query_row, across;

  __device__ void settle() const {}
  __device__ void begin(const SlabInfo&, const unsigned char*, const unsigned char*) const {}
  __device__ void end(const SlabInfo& info, const unsigned char* queries, const unsigned char* documents) const {
    if (info.slab == 0)
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < S::kGroups; ++j)
          for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
    queries += first_query_row * kSlabBytes;
    if constexpr (sizeof(T) == 4)
      multiply_float<S::kAcross>(sums, queries, documents, across, info.rows, info.bytes);
    else if (info.rows == kTileRows)
      multiply<T, S::kAcross, true>(sums, queries, documents, across, info.rows, info.bytes);
    else multiply<T, S::kAcross, false>(sums, queries, documents, across, info.rows, info.bytes);
  }
};

template <class T, int kRows, bool winners>
__global__ void __launch_bounds__(Shape<kRows>::kThreads, Shape<kRows>::kBlocks)
    maxsim_mma(const __grid_constant__ Job job) {
  using S = Shape<kRows>;
  Stream<kRows, S::kAcross, S::kThreads> stream(job, shared_memory());
  if (stream.nothing()) return;
  const int warp = threadIdx.x / 32, across = warp % S::kAcross, first_query_row = warp / S::kAcross * 32;
  typename SumOf<T>::type sums[2][S::kGroups][4];
  const auto column_of = [across](int j) { return (j / 2 * S::kAcross + across) * 16 + j % 2 * 8; };
  each_slab<winners>(stream, job, sums, first_query_row, across, column_of,
                     Multiply<T, kRows>{sums, first_query_row, across});
}

template <class T, int kRows>
cudaError_t launch_rows(const Job& job, dim3 grid, void* stream) {
  using S = Shape<kRows>;
  const size_t bytes = Stream<kRows, S::kAcross, S::kThreads>::shared_bytes(job);
  const auto kernel = job.winners ? maxsim_mma<T, kRows, true> : maxsim_mma<T, kRows, false>;
  return launch(kernel, grid, S::kThreads, bytes, stream, job);
}

template <class T>
cudaError_t launch_type(const Job& job, dim3 grid, void* stream) {
  if (job.tile_rows == 32) return launch_rows<T, 32>(job, grid, stream);
  if (job.tile_rows == 64) return launch_rows<T, 64>(job, grid, stream);
  return launch_rows<T, 128>(job, grid, stream);
}

}  // namespace

cudaError_t launch_maxsim_mma(const Job& job, int type, dim3 grid, void* stream) {
  if (type == FLMR_FLOAT32) return launch_type<float>(job, grid, stream);
  if (type == FLMR_FLOAT16) return launch_type<Half>(job, grid, stream);
  if (type == FLMR_BFLOAT16) return launch_type<BFloat>(job, grid, stream);
  if (type == FLMR_INT8) return launch_type<int8_t>(job, grid, stream);
  return launch_type<Float8>(job, grid, stream);
}
