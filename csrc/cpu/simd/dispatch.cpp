// Which instruction sets are compiled in and which of them this processor has: asked at run time.

#include <cstring>

#include "../../kernels.h"
#include "simd.h"

namespace flmr {

const Simd* simd_scalar();
#if defined(__x86_64__)
const Simd* simd_avx2();
const Simd* simd_avx512();
const Simd* simd_avx512vnni();
void simd_avx512bf16(Simd& table);  // turns avx512vnni's into its own
#elif defined(__aarch64__)
const Simd* simd_neon();
#endif

namespace {

#if defined(__x86_64__)
const Simd* with_bf16() {
  static const Simd made = [] {
    Simd table = *simd_avx512vnni();
    simd_avx512bf16(table);
    return table;
  }();
  return &made;
}
#endif

std::vector<const Simd*> tables() {
  std::vector<const Simd*> found = {simd_scalar()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    found.push_back(simd_avx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      found.push_back(simd_avx512());
      if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi")) {
        found.push_back(simd_avx512vnni());
        if (__builtin_cpu_supports("avx512bf16")) found.push_back(with_bf16());
      }
    }
  }
#elif defined(__aarch64__)
  found.push_back(simd_neon());
#endif
  return found;
}

}  // namespace

std::vector<std::string> simd_names() {
  std::vector<std::string> names;
  for (const Simd* table : tables()) names.emplace_back(table->name);
  return names;
}

const Simd& simd(const char* name) {
  for (const Simd* table : tables())
    if (std::strcmp(table->name, name) == 0) return *table;
  throw Refused(std::string("this processor or build has no instruction set named ") + name);
}

}  // namespace flmr
