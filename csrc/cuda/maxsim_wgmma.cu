// MaxSim forward with warpgroup-level matrix products, which a Hopper GPU needs for its full matrix rate.  Compiled for
// sm_90a alone and used only where asked (flmr_cuda_set_path): it has not run on a device.  Knows how a slab is
// multiplied; streaming and maxima stand in stream.h and best.h.

#include "best.h"
#include "maxsim.h"
#include "warpgroup.h"

namespace {

constexpr int kRows = kWgmmaRows;
constexpr int kThreads = kRows / kWarpgroupRows * 128;  // a warpgroup takes 64 query rows and all columns of a tile

// A warpgroup's rows of a slab.  Between begin and end the products are under way, and no branch may part the two.
template <class T>
struct Multiply {
  typename SumOf<T>::type (&sums)[1][kWarpgroupColumns / 8][4];

  __device__ void settle() const { fence_copies(); }
  __device__ void begin(const SlabInfo& info, const unsigned char* query_tile, const unsigned char* tile) const {
    const uint64_t queries = descriptor_of(query_tile + threadIdx.x / 128 * kWarpgroupRows * kSlabBytes);
    const uint64_t documents = descriptor_of(tile);
    warpgroup_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      warpgroup_multiply<T>(sums[0], queries + k * 2, documents + k * 2, info.slab > 0 || k > 0);
    warpgroup_commit();
  }
  __device__ void end(const SlabInfo&, const unsigned char*, const unsigned char*) const { warpgroup_wait(sums[0]); }
};

template <class T, bool winners>
__global__ void __launch_bounds__(kThreads, 2) maxsim_wgmma(const __grid_constant__ Job job) {
  Stream<kRows, 1, kThreads> stream(job, shared_memory());
  if (stream.nothing()) return;
  typename SumOf<T>::type sums[1][kWarpgroupColumns / 8][4];
  const auto column_of = [](int j) { return j * 8; };
  each_slab<winners>(stream, job, sums, threadIdx.x / 32 * 16, 0, column_of, Multiply<T>{sums});
}

template <class T>
cudaError_t launch_type(const Job& job, dim3 grid, void* stream) {
  const auto kernel = job.winners ? maxsim_wgmma<T, true> : maxsim_wgmma<T, false>;
  return launch(kernel, grid, kThreads, Stream<kRows, 1, kThreads>::shared_bytes(job), stream, job);
}

}  // namespace

cudaError_t launch_maxsim_wgmma(const Job& job, int type, dim3 grid, void* stream) {
  if (type == FLMR_FLOAT16) return launch_type<Half>(job, grid, stream);
  if (type == FLMR_BFLOAT16) return launch_type<BFloat>(job, grid, stream);
  if (type == FLMR_INT8) return launch_type<int8_t>(job, grid, stream);
  return launch_type<Float8>(job, grid, stream);
}
