// What the CUDA library says of itself.  C interface: the library is opened at run time, without any header.

#include <cuda_runtime.h>

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int flmr_cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

EXPORT const char* flmr_cuda_error(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }
