// What the CUDA library says of the device and of itself, and which multiplication it uses.

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "maxsim.h"

namespace {

enum Path { kUnread, kMma, kWgmma };
std::atomic<int> path{kUnread};  // for the process: a benchmark compares both

int attribute(cudaDeviceAttr name) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&value, name, device) != cudaSuccess) return 0;
  return value;
}

int current_path() {
  int now = path.load();
  if (now == kUnread) {
    const char* asked = std::getenv("FLMR_CUDA_PATH");
    path.compare_exchange_strong(now, asked && !std::strcmp(asked, "wgmma") ? kWgmma : kMma);
  }
  return path.load();
}

}  // namespace

int device_capability() {
  return attribute(cudaDevAttrComputeCapabilityMajor) * 10 + attribute(cudaDevAttrComputeCapabilityMinor);
}

int multiprocessors() {
  const int count = attribute(cudaDevAttrMultiProcessorCount);
  return count > 0 ? count : 1;
}

int shared_memory_limit() { return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }

bool uses_wgmma() { return current_path() == kWgmma; }

int refuse_device(int type) {
  const int capability = device_capability();
  if (type == FLMR_FLOAT8_E4M3 && capability < 90) return FLMR_REFUSED_DEVICE;
  if (uses_wgmma() && type != FLMR_FLOAT32 && capability != 90) return FLMR_REFUSED_DEVICE;
  return 0;
}

extern "C" int flmr_cuda_set_path(const char* name) {
  if (std::strcmp(name, "mma") && std::strcmp(name, "wgmma")) return -1;
  path.store(std::strcmp(name, "wgmma") ? kMma : kWgmma);
  return 0;
}

extern "C" const char* flmr_cuda_path() { return current_path() == kWgmma ? "wgmma" : "mma"; }

extern "C" int flmr_cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

extern "C" const char* flmr_cuda_error(int status) {
  switch (status) {
    case FLMR_REFUSED_SIZES: return "sizes, strides or pointers that do not fit together; D must be 1 to 8192";
    case FLMR_REFUSED_TYPES: return "queries and documents must have one known type and one D";
    case FLMR_REFUSED_PAIRS: return "documents must be per_query for each query";
    case FLMR_REFUSED_WINNERS: return "winners must be int32, or int16 where no document has more than 32767 rows";
    case FLMR_REFUSED_SCRATCH: return "too little scratch: ask flmr_cuda_maxsim_scratch";
    case FLMR_REFUSED_DEVICE: return "this device cannot: 8-bit floats need compute capability 9.0, wgmma exactly 9.0";
    case FLMR_REFUSED_GRADIENT: return "int8 and 8-bit float rows have no gradient";
    default: return cudaGetErrorString(static_cast<cudaError_t>(status));
  }
}
