// MaxSim backward: each query row and its winner in each document meet once.  Knows winners and weights; nothing of how
// they were found.  Sums in float32, by rows of queries, or for documents in the order of queries.

#include <utility>

#include "maxsim.h"

namespace {

constexpr int kThreads = 128;
constexpr int kLaneDims = 4, kWarpDims = 32 * kLaneDims;  // dimensions of a lane and of a warp at a time
constexpr int kAhead = 4;                                 // rows asked for before the first is used
constexpr int kPanelRows = 64;                            // document rows whose gradients a block holds: 32 KB

struct Gradient {
  Side queries, documents;
  int64_t dim, per_query, columns;
  const void* winners;
  int winner_bytes;
  const float* scores;               // [queries][columns], of the scores
  float *of_queries, *of_documents;  // [rows][dim], or null
};

__device__ int winner_at(const Gradient& job, int64_t row, int64_t column) {
  const int64_t place = row * job.columns + column;
  return job.winner_bytes == 2 ? static_cast<const int16_t*>(job.winners)[place]
                               : static_cast<const int32_t*>(job.winners)[place];
}

// What the product of a query row and a document row counts for.
__device__ float weight_of(const Gradient& job, int64_t query, int64_t row, int64_t column, int64_t document_row) {
  float weight = job.scores[query * job.columns + column];
  if (job.queries.scales) weight *= job.queries.scales[row];
  if (job.documents.scales) weight *= job.documents.scales[document_row];
  return weight;
}

template <class T>
__device__ const T* row_at(const Side& side, int64_t row) {
  return reinterpret_cast<const T*>(side.rows + row * side.step);
}

// A warp takes a query row: gathers its gradient from the winners and, if asked, adds to theirs.
template <class T>
__global__ void __launch_bounds__(kThreads) gather_queries(const __grid_constant__ Gradient job) {
  const int64_t item = int64_t(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  const int64_t query = item / job.queries.longest;
  if (query >= job.queries.items) return;
  const Bounds bounds = bounds_of(job.queries, query);
  const int64_t row = bounds.begin + item % job.queries.longest;
  if (row >= bounds.end) return;
  const int64_t first = int64_t(blockIdx.y) * kWarpDims + threadIdx.x % 32;
  float own[kLaneDims] = {}, sums[kLaneDims] = {};
#pragma unroll
  for (int i = 0; i < kLaneDims; ++i)
    if (first + i * 32 < job.dim) own[i] = as_float(row_at<T>(job.queries, row)[first + i * 32]);
  for (int64_t from = 0; from < job.columns; from += kAhead) {
    float weights[kAhead], others[kAhead][kLaneDims];
    int64_t rows[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int64_t column = from + a;
      const int winner = column < job.columns ? winner_at(job, row, column) : -1;
      rows[a] = winner < 0 ? -1 : bounds_of(job.documents, query * job.per_query + column).begin + winner;
      weights[a] = winner < 0 ? 0.0f : weight_of(job, query, row, column, rows[a]);
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i)
        others[a][i] = winner < 0 || !job.of_queries || first + i * 32 >= job.dim
                           ? 0.0f
                           : as_float(row_at<T>(job.documents, rows[a])[first + i * 32]);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a)
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) {
        sums[i] = fmaf(weights[a], others[a][i], sums[i]);
        if (job.of_documents && rows[a] >= 0 && first + i * 32 < job.dim)
          add_atomically(job.of_documents + rows[a] * job.dim + first + i * 32, weights[a] * own[i]);
      }
  }
  if (!job.of_queries) return;
#pragma unroll
  for (int i = 0; i < kLaneDims; ++i)
    if (first + i * 32 < job.dim) job.of_queries[row * job.dim + first + i * 32] = sums[i];
}

// A block takes kPanelRows rows of a document and as many dimensions as it has threads, and walks the winners of its
// column in the order of the queries: sorted out 128 at a time, then added one after another, each thread to its own
// dimension.
template <class T>
__global__ void __launch_bounds__(kThreads) gather_documents(const __grid_constant__ Gradient job, int64_t panels) {
  struct Meeting {
    int64_t query_row;
    float weight;
    int place;
  };
  struct Shared {
    float sums[kPanelRows][kThreads];
    Meeting meetings[kThreads];
    uint32_t here[kThreads / 32];
  };
  Shared& shared = *reinterpret_cast<Shared*>(shared_memory());
  const int64_t document = blockIdx.x / panels;
  const Bounds bounds = bounds_of(job.documents, document);
  const int64_t first_row = bounds.begin + int64_t(blockIdx.x) % panels * kPanelRows;
  if (first_row >= bounds.end) return;
  const int rows = static_cast<int>(bounds.end - first_row < kPanelRows ? bounds.end - first_row : kPanelRows);
  const int64_t dim = int64_t(blockIdx.y) * kThreads + threadIdx.x;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int row = 0; row < rows; ++row) shared.sums[row][threadIdx.x] = 0.0f;

  const int64_t longest = job.queries.longest;
  const int64_t first_query = job.per_query ? document / job.per_query : 0;
  const int64_t column = job.per_query ? document % job.per_query : document;
  const int64_t last = (job.per_query ? first_query + 1 : job.queries.items) * longest;
  for (int64_t from = first_query * longest; from < last; from += kThreads) {
    const int64_t entry = from + threadIdx.x, query = entry / longest;
    Meeting meeting{-1, 0.0f, -1};
    if (entry < last) {
      const Bounds of_query = bounds_of(job.queries, query);
      meeting.query_row = of_query.begin + entry % longest;
      if (meeting.query_row < of_query.end) {
        const int winner = winner_at(job, meeting.query_row, column);
        const int64_t place = bounds.begin + winner - first_row;
        if (winner >= 0 && place >= 0 && place < rows) {
          meeting.place = static_cast<int>(place);
          meeting.weight = weight_of(job, query, meeting.query_row, column, bounds.begin + winner);
        }
      }
    }
    const uint32_t here = vote(meeting.place >= 0);
    if (lane == 0) shared.here[warp] = here;
    barrier();
    int before = count_bits(here & ((1u << lane) - 1)), all = 0;
    for (int w = 0; w < kThreads / 32; ++w) {
      if (w < warp) before += count_bits(shared.here[w]);
      all += count_bits(shared.here[w]);
    }
    if (meeting.place >= 0) shared.meetings[before] = meeting;
    barrier();
    if (dim < job.dim) {
#pragma unroll 4
      for (int i = 0; i < all; ++i) {
        const Meeting& each = shared.meetings[i];
        float& sum = shared.sums[each.place][threadIdx.x];
        sum = fmaf(each.weight, as_float(row_at<T>(job.queries, each.query_row)[dim]), sum);
      }
    }
    barrier();
  }
  if (dim < job.dim)
    for (int row = 0; row < rows; ++row)
      job.of_documents[(first_row + row) * job.dim + dim] = shared.sums[row][threadIdx.x];
}

template <class T>
cudaError_t run(const Gradient& job, bool deterministic, void* stream) {
  const auto ceiling = [](int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); };
  cudaError_t status = cudaSuccess;
  if (job.of_queries || !deterministic) {
    Gradient now = job;
    if (deterministic) now.of_documents = nullptr;
    const dim3 grid(ceiling(job.queries.items * job.queries.longest, kThreads / 32), ceiling(job.dim, kWarpDims));
    status = launch(gather_queries<T>, grid, kThreads, 0, stream, now);
  }
  if (status == cudaSuccess && job.of_documents && deterministic) {
    const int64_t panels = (job.documents.longest + kPanelRows - 1) / kPanelRows;
    const dim3 grid(static_cast<unsigned>(job.documents.items * panels), ceiling(job.dim, kThreads));
    const size_t bytes = sizeof(float) * kPanelRows * kThreads + kThreads * 16 + 16;
    status = launch(gather_documents<T>, grid, kThreads, bytes, stream, job, panels);
  }
  return status;
}

}  // namespace

extern "C" int flmr_cuda_maxsim_backward(const FlmrMaxsim* args, const float* grad_scores, float* grad_queries,
                                         float* grad_documents, int deterministic) {
  if (const int refused = refuse_maxsim(*args)) return refused;
  const int type = args->queries.type;
  if (type == FLMR_INT8 || type == FLMR_FLOAT8_E4M3) return FLMR_REFUSED_GRADIENT;
  for (const FlmrItems* side : {&args->queries, &args->documents})
    if (const int refused = refuse_blocks(side->items, side->longest)) return refused;
  const int64_t dim = args->queries.dim, columns = args->per_query ? args->per_query : args->documents.items;
  const Gradient job{side_of(args->queries), side_of(args->documents), dim,         args->per_query, columns,
                     args->winners,          args->winner_bytes,       grad_scores, grad_queries,    grad_documents};
  const auto stream = static_cast<cudaStream_t>(args->stream);
  for (const auto& [gradient, side] :
       {std::pair{grad_queries, &args->queries}, std::pair{grad_documents, &args->documents}}) {
    if (!gradient) continue;
    const cudaError_t status = cudaMemsetAsync(gradient, 0, sizeof(float) * side->count * dim, stream);
    if (status != cudaSuccess) return status;
  }
  const bool none = job.queries.items == 0 || job.queries.longest == 0 || job.documents.longest == 0 || columns == 0;
  if (none || (!grad_queries && !grad_documents)) return cudaSuccess;
  if (!args->winners) return FLMR_REFUSED_WINNERS;
  if (!grad_scores) return FLMR_REFUSED_SIZES;
  if (type == FLMR_FLOAT32) return run<float>(job, deterministic, args->stream);
  if (type == FLMR_FLOAT16) return run<Half>(job, deterministic, args->stream);
  return run<BFloat>(job, deterministic, args->stream);
}
