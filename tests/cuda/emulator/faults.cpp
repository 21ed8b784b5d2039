// Small kernels, each with one fault that a GPU would let pass or turn into wrong numbers: the emulator must notice
// them all.

#include <map>
#include <string>

#include "warpgroup.h"

namespace {

enum Fault { kNone, kNoWait, kNoBarrier, kEarlyReuse };

// Every thread sends four bytes and reads those of its neighbour a warp away.
template <Fault fault>
void neighbours(const float* from, float* to) {
  auto* memory = reinterpret_cast<float*>(shared_memory());
  const unsigned thread = threadIdx.x;
  copy_async<4>(memory + thread, from + thread, 4);
  copy_commit();
  if (fault != kNoWait) copy_wait<0>();
  if (fault != kNoBarrier) barrier();
  if (fault == kEarlyReuse) copy_async<4>(memory + thread, from + thread, 4);
  to[thread] = memory[(thread + 32) % 64];
  copy_commit();
  barrier();
  copy_wait<0>();
}

void reads_beyond(const float* from, float* to) { to[threadIdx.x] = from[threadIdx.x + 1]; }
void writes_beyond(const float* from, float* to) { to[threadIdx.x + 64] = from[threadIdx.x]; }
void writes_far_beyond(const float* from, float* to) { to[threadIdx.x + (200 << 10)] = from[threadIdx.x]; }
void half_a_barrier(const float*, float*) {
  if (threadIdx.x < 32) barrier();
}
void half_a_warp(const float* from, float* to) {
  if (threadIdx.x % 2) to[threadIdx.x] = shuffle_xor(from[threadIdx.x], 2);
}
void two_meetings(const float* from, float* to) {
  if (threadIdx.x % 2) to[threadIdx.x] = shuffle_xor(from[threadIdx.x], 2);
  else to[threadIdx.x] = static_cast<float>(vote(true));
}
void odd_copy(const float* from, float*) { copy_async<16>(shared_memory() + 16 * threadIdx.x, from + 1, 16); }
void copy_outside(const float* from, float*) { copy_async<16>(shared_memory() + 1024, from, 4); }
void copies_left(const float* from, float*) {
  copy_async<4>(shared_memory(), from, 4);
  copy_commit();
}
void odd_fragment(const float*, float*) {
  uint32_t out[4];
  load_matrices(out, shared_memory() + 8);
}

// A product of 64 rows of ones with 128 rows of ones, or one with a fault.
enum WgmmaFault { kSound, kNoBegin, kNoFence, kNoCommit, kNoJoin };
template <WgmmaFault fault>
void product(const float*, float* to) {
  auto* memory = reinterpret_cast<int32_t*>(shared_memory());
  float sums[16][4];
  for (int at = threadIdx.x; at < 6144; at += 128) memory[at] = 0x38383838;  // e4m3: 1
  copy_async<4>(memory + threadIdx.x, memory + 6000, 4);
  copy_commit();
  copy_wait<0>();
  if (fault != kNoFence) fence_copies();
  barrier();
  if (fault != kNoBegin) warpgroup_begin();
  warpgroup_multiply<Float8>(sums, descriptor_of(memory), descriptor_of(memory + 2048), false);
  if (fault != kNoCommit) warpgroup_commit();
  if (fault != kNoJoin) warpgroup_wait(sums);
  if (threadIdx.x < 64) to[threadIdx.x] = sums[threadIdx.x % 16][3];
}

}  // namespace

// Runs one on 64 threads with 1,024 bytes of shared memory, products on 128 with 24 KB; from and to hold 64 floats.
extern "C" int emulator_fault(const char* name, const float* from, float* to) {
  static const std::map<std::string, void (*)(const float*, float*)> kernels{
      {"none", neighbours<kNone>},
      {"no wait", neighbours<kNoWait>},
      {"no barrier", neighbours<kNoBarrier>},
      {"early reuse", neighbours<kEarlyReuse>},
      {"reads beyond", reads_beyond},
      {"writes beyond", writes_beyond},
      {"writes far beyond", writes_far_beyond},
      {"half a barrier", half_a_barrier},
      {"half a warp", half_a_warp},
      {"two meetings", two_meetings},
      {"odd copy", odd_copy},
      {"copy outside", copy_outside},
      {"copies left", copies_left},
      {"odd fragment", odd_fragment},
      {"product", product<kSound>},
      {"product without a beginning", product<kNoBegin>},
      {"product without a fence", product<kNoFence>},
      {"product without a commit", product<kNoCommit>},
      {"product that is not waited for", product<kNoJoin>},
  };
  const bool products = std::string(name).rfind("product", 0) == 0;
  return launch(kernels.at(name), dim3(1), products ? 128 : 64, products ? 24 << 10 : 1024, nullptr, from, to);
}
