// What one core multiplies and adds at most, from its registers: GFLOP/s of float32, bfloat16 and int8 (there a product
// and a sum are two operations as well), as far as the processor has instructions for them.
//   c++ -O3 -march=native peak.cpp -o peak && ./peak

#include <algorithm>
#include <chrono>
#include <cstdio>

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

namespace {

constexpr int kSums = 12;  // in flight at once: more than the latency of any processor asks for, fewer than it has registers
constexpr int kTimes = 200'000;

// The best of some short runs of step(sum) on independent sums, each worth `operations`.
template <class Vec, class Step>
void print(const char* name, int operations, Vec start, Step step) {
  double least = 1e9;
  for (int round = 0; round < 9; ++round) {
    Vec sums[kSums];
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) {
      sums[i] = start;
      asm volatile("" : "+v"(sums[i]));  // the compiler is not to know that all are the same
    }
    const auto began = std::chrono::steady_clock::now();
    for (int time = 0; time < kTimes; ++time) {
#pragma GCC unroll 12
      for (int i = 0; i < kSums; ++i) sums[i] = step(sums[i]);
    }
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) asm volatile("" : : "v"(sums[i]));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    least = std::min(least, took.count());
  }
  std::printf("%s %.1f\n", name, double{kSums} * kTimes * operations / least / 1e9);
}

}  // namespace

int main() {
#if defined(__AVX512F__)
  const __m512 half = _mm512_set1_ps(0.5f);
  print("float32", 32, half, [&](__m512 sum) { return _mm512_fmadd_ps(half, half, sum); });
#elif defined(__AVX2__) && defined(__FMA__)
  const __m256 half = _mm256_set1_ps(0.5f);
  print("float32", 16, half, [&](__m256 sum) { return _mm256_fmadd_ps(half, half, sum); });
#endif
#if defined(__AVX512BF16__)
  const __m512bh pairs = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f00));
  print("bfloat16", 64, half, [&](__m512 sum) { return _mm512_dpbf16_ps(sum, pairs, pairs); });
#endif
#if defined(__AVX512VNNI__)
  const __m512i bytes = _mm512_set1_epi8(3);
  print("int8", 128, bytes, [&](__m512i sum) { return _mm512_dpbusd_epi32(sum, bytes, bytes); });
#endif
}
