// All queries against all documents, ragged, forward only.  One block of threads makes one score: it walks the query in
// tiles of 32 rows and the document in tiles of 64, keeps each query row's maximum in registers, and adds the maxima in
// a fixed order.  The same on any device and for any other items in the call.

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kQueryRows = 32, kDocumentRows = 64, kDepth = 16;
// 8 x 16 threads, each with 4 x 4 dot products in registers: 8 loads from shared memory feed 16 multiply-adds.
constexpr int kThreadsX = 16, kThreadsY = 8;

__device__ float as_float(float value) { return value; }
__device__ float as_float(__half value) { return __half2float(value); }

// Rows first .. first+count of `rows`, dimensions from .. from+kDepth, transposed; zeros beyond either end.
template <class T, int count>
__device__ void fill(float (&tile)[kDepth][count], const T* rows, int64_t first, int64_t end, int64_t from, int64_t dim) {
  for (int i = threadIdx.y * kThreadsX + threadIdx.x; i < count * kDepth; i += kThreadsX * kThreadsY) {
    const int row = i / kDepth, d = i % kDepth;
    const bool inside = first + row < end && from + d < dim;
    tile[d][row] = inside ? as_float(rows[(first + row) * dim + from + d]) : 0.0f;
  }
}

template <class Q, class D>
__global__ void maxsim(const Q* queries, const int64_t* query_offsets, int64_t num_queries, const D* documents,
                       const int64_t* document_offsets, int64_t num_documents, int64_t dim, float* scores) {
  __shared__ float query_tile[kDepth][kQueryRows];
  __shared__ float document_tile[kDepth][kDocumentRows];
  __shared__ float sums[kThreadsY];
  const int64_t document = blockIdx.x;
  const int64_t begin = document_offsets[document], end = document_offsets[document + 1];
  for (int64_t query = blockIdx.y; query < num_queries; query += gridDim.y) {
    const int64_t query_begin = query_offsets[query], query_end = query_offsets[query + 1];
    float total = 0.0f;
    for (int64_t q = query_begin; q < query_end; q += kQueryRows) {
      float best[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
      for (int64_t d = begin; d < end; d += kDocumentRows) {
        float dots[4][4] = {};
        for (int64_t from = 0; from < dim; from += kDepth) {
          __syncthreads();
          fill(query_tile, queries, q, query_end, from, dim);
          fill(document_tile, documents, d, end, from, dim);
          __syncthreads();
          for (int k = 0; k < kDepth; ++k)
            for (int i = 0; i < 4; ++i)
              for (int j = 0; j < 4; ++j)
                dots[i][j] += query_tile[k][threadIdx.y * 4 + i] * document_tile[k][threadIdx.x + j * kThreadsX];
        }
        for (int j = 0; j < 4; ++j)
          if (d + threadIdx.x + j * kThreadsX < end)
            for (int i = 0; i < 4; ++i) best[i] = fmaxf(best[i], dots[i][j]);
      }
      for (int i = 0; i < 4; ++i) {
        for (int step = kThreadsX / 2; step; step /= 2)
          best[i] = fmaxf(best[i], __shfl_xor_sync(0xffffffffu, best[i], step, kThreadsX));
        if (q + threadIdx.y * 4 + i < query_end) total += best[i];
      }
    }
    if (threadIdx.x == 0) sums[threadIdx.y] = total;
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
      float score = 0.0f;
      for (int y = 0; y < kThreadsY; ++y) score += sums[y];
      scores[query * num_documents + document] = begin < end ? score : -INFINITY;
    }
    __syncthreads();
  }
}

// Memory of the device that is freed on every way out.
class DeviceArray {
 public:
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

}  // namespace

// All pointers are the host's.  query_half and document_half: 1 for float16, 0 for float32.  Offsets must be sound.
// Returns a cudaError_t.
EXPORT int flmr_cuda_maxsim(const void* queries, int query_half, const int64_t* query_offsets, int64_t num_queries,
                            const void* documents, int document_half, const int64_t* document_offsets,
                            int64_t num_documents, int64_t dim, float* scores) {
  if (num_queries == 0 || num_documents == 0) return cudaSuccess;
  DeviceArray q, q_offsets, d, d_offsets, out;
  const size_t score_bytes = sizeof(float) * num_queries * num_documents;
  const size_t q_bytes = query_offsets[num_queries] * dim * (query_half ? 2 : 4);
  const size_t d_bytes = document_offsets[num_documents] * dim * (document_half ? 2 : 4);
  cudaError_t status = q.copy_in(queries, q_bytes);
  if (status == cudaSuccess) status = d.copy_in(documents, d_bytes);
  if (status == cudaSuccess) status = q_offsets.copy_in(query_offsets, sizeof(int64_t) * (num_queries + 1));
  if (status == cudaSuccess) status = d_offsets.copy_in(document_offsets, sizeof(int64_t) * (num_documents + 1));
  if (status == cudaSuccess) status = out.allocate(score_bytes);
  if (status != cudaSuccess) return status;

  const dim3 grid(static_cast<unsigned>(num_documents), static_cast<unsigned>(num_queries < 65535 ? num_queries : 65535));
  const dim3 block(kThreadsX, kThreadsY);
  const auto launch = [&](auto* query_rows, auto* document_rows) {
    maxsim<<<grid, block>>>(query_rows, q_offsets.as<int64_t>(), num_queries, document_rows, d_offsets.as<int64_t>(),
                            num_documents, dim, out.as<float>());
  };
  if (query_half && document_half) launch(q.as<__half>(), d.as<__half>());
  else if (query_half) launch(q.as<__half>(), d.as<float>());
  else if (document_half) launch(q.as<float>(), d.as<__half>());
  else launch(q.as<float>(), d.as<float>());
  status = cudaGetLastError();
  return status == cudaSuccess ? cudaMemcpy(scores, out.as<float>(), score_bytes, cudaMemcpyDeviceToHost) : status;
}
