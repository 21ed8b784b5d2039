// All queries against all documents where everything lies in host memory: queries are sent once, documents in pieces
// that the device's free memory holds.  Knows memory and ragged offsets; the kernels do the rest.

#include <vector>

#include "maxsim.h"

namespace {

// Memory of the device that is freed on every way out.
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  cudaError_t allocate(size_t bytes) { return cudaMalloc(&data_, bytes ? bytes : 1); }
  cudaError_t copy_in(const void* host, size_t bytes) {
    const cudaError_t status = allocate(bytes);
    return status == cudaSuccess ? cudaMemcpy(data_, host, bytes, cudaMemcpyHostToDevice) : status;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

__global__ void widen(int64_t count, const Half* from, float* to) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x)
    to[i] = as_float(from[i]);
}

// Items first .. last on the device, float32 if `wide`.
struct Ragged {
  DeviceArray halves, rows, bounds;
  FlmrItems items{};

  cudaError_t send(const void* host, bool half, bool wide, const int64_t* offsets, int64_t first, int64_t last,
                   int64_t dim) {
    const int64_t begin = offsets[first], count = offsets[last] - begin, number = last - first;
    const int64_t bytes = half ? 2 : 4;
    const auto* from = static_cast<const unsigned char*>(host) + begin * dim * bytes;
    DeviceArray& raw = half && wide ? halves : rows;
    cudaError_t status = raw.copy_in(from, count * dim * bytes);
    if (status == cudaSuccess && half && wide) {
      status = rows.allocate(count * dim * sizeof(float));
      if (status == cudaSuccess && count)
        status = launch(widen, dim3(1024), 256, 0, nullptr, count * dim, static_cast<const Half*>(halves.as<Half>()),
                        rows.as<float>());
    }
    std::vector<int64_t> local(2 * number);
    for (int64_t i = 0; i < number; ++i) {
      local[i] = offsets[first + i] - begin;
      local[number + i] = offsets[first + i + 1] - begin;
      const int64_t length = local[number + i] - local[i];
      if (length > items.longest) items.longest = length;
    }
    if (status == cudaSuccess) status = bounds.copy_in(local.data(), sizeof(int64_t) * local.size());
    items.rows = rows.as<void>();
    items.count = count;
    items.dim = items.stride = dim;
    items.begins = bounds.as<int64_t>();
    items.ends = items.begins + number;
    items.items = number;
    items.type = half && !wide ? FLMR_FLOAT16 : FLMR_FLOAT32;
    return status;
  }
};

}  // namespace

extern "C" int flmr_cuda_maxsim(const void* queries, int query_half, const int64_t* query_offsets, int64_t num_queries,
                                const void* documents, int document_half, const int64_t* document_offsets,
                                int64_t num_documents, int64_t dim, float* scores) {
  if (num_queries == 0 || num_documents == 0) return cudaSuccess;
  const bool wide = query_half != document_half;
  FlmrMaxsim args{};
  Ragged query;
  if (const cudaError_t status = query.send(queries, query_half, wide, query_offsets, 0, num_queries, dim))
    return status;
  args.queries = query.items;

  size_t free_bytes = 0, all_bytes = 0;
  if (const cudaError_t status = cudaMemGetInfo(&free_bytes, &all_bytes)) return status;
  const int64_t budget = static_cast<int64_t>(free_bytes / 4 * 3);
  const int64_t row_bytes = dim * (document_half ? (wide ? 6 : 2) : 4);
  // Of a document: its bounds, its scores and the sums of all tiles of at least 64 query rows.
  const int64_t own_bytes = 16 + 4 * num_queries * (1 + (query.items.longest + 63) / 64);
  for (int64_t first = 0, last; first < num_documents; first = last) {
    last = first + 1;
    int64_t bytes = own_bytes + (document_offsets[last] - document_offsets[first]) * row_bytes;
    while (last < num_documents) {
      bytes += own_bytes + (document_offsets[last + 1] - document_offsets[last]) * row_bytes;
      if (bytes > budget) break;
      ++last;
    }
    Ragged piece;
    DeviceArray scratch, out;
    cudaError_t status = piece.send(documents, document_half, wide, document_offsets, first, last, dim);
    args.documents = piece.items;
    args.scratch_bytes = flmr_cuda_maxsim_scratch(&args, INT64_MAX);
    const size_t width = sizeof(float) * (last - first);
    if (status == cudaSuccess) status = scratch.allocate(args.scratch_bytes);
    if (status == cudaSuccess) status = out.allocate(width * num_queries);
    if (status != cudaSuccess) return status;
    args.scratch = scratch.as<void>();
    args.scores = out.as<float>();
    if (const int refused = flmr_cuda_maxsim_forward(&args)) return refused;
    status = cudaMemcpy2D(scores + first, sizeof(float) * num_documents, args.scores, width, width, num_queries,
                          cudaMemcpyDeviceToHost);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}
