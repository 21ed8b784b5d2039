// The nearest centroid of each row: the forward kernel with centroids for documents and no sums, then the best of their
// parts.  Knows winners; nothing of how dot products are made.

#include "maxsim.h"

namespace {

constexpr int64_t kPartRows = 1024;  // centroids of a part at least

// Few rows do not fill a device: centroids are cut into parts that different blocks take.
int64_t parts_of(const FlmrItems& rows, const FlmrItems& centroids) {
  const int64_t tiles = rows.count / 128 + 1, wanted = int64_t(multiprocessors()) * 4 / tiles;
  const int64_t most = (centroids.count + kPartRows - 1) / kPartRows;
  return wanted < 1 || most < 1 ? 1 : wanted < most ? wanted : most;
}

__global__ void best_part(int64_t rows, int64_t parts, int64_t part_rows, const int32_t* winners, const float* values,
                          int32_t* codes, float* best) {
  for (int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; row < rows;
       row += int64_t(gridDim.x) * blockDim.x) {
    int64_t part = 0;
    for (int64_t other = 1; other < parts; ++other)
      if (values[row * parts + other] > values[row * parts + part]) part = other;
    codes[row] = static_cast<int32_t>(part * part_rows + winners[row * parts + part]);
    if (best) best[row] = values[row * parts + part];
  }
}

FlmrItems whole(FlmrItems items) {
  items.begins = items.ends = nullptr;
  items.mask = nullptr;
  items.items = 1;
  items.longest = items.count;
  return items;
}

int refuse_assign(const FlmrItems& rows, const FlmrItems& centroids) {
  for (const FlmrItems* side : {&rows, &centroids})
    if (const int refused = refuse_items(*side)) return refused;
  if (rows.type != centroids.type || rows.dim != centroids.dim) return FLMR_REFUSED_TYPES;
  return rows.count > 0 && centroids.count == 0 ? FLMR_REFUSED_SIZES : 0;
}

}  // namespace

extern "C" int64_t flmr_cuda_assign_scratch(const FlmrItems* rows, const FlmrItems* centroids) {
  if (const int refused = refuse_assign(whole(*rows), whole(*centroids))) return refused;
  const int64_t parts = parts_of(*rows, *centroids);
  return parts > 1 ? rows->count * parts * static_cast<int64_t>(sizeof(int32_t) + sizeof(float)) : 0;
}

extern "C" int flmr_cuda_assign(const FlmrItems* rows_given, const FlmrItems* centroids_given,
                                const float* half_squared_norms, int32_t* codes, float* best, void* scratch,
                                int64_t scratch_bytes, void* stream) {
  const FlmrItems rows = whole(*rows_given);
  FlmrItems centroids = whole(*centroids_given);
  if (const int refused = refuse_assign(rows, centroids)) return refused;
  if (rows.count == 0) return cudaSuccess;
  if (const int refused = refuse_device(rows.type)) return refused;
  const int64_t parts = parts_of(rows, centroids);
  if (parts > 1 && (!scratch || scratch_bytes < flmr_cuda_assign_scratch(rows_given, centroids_given)))
    return FLMR_REFUSED_SCRATCH;

  centroids.items = parts;
  centroids.longest = ((centroids.count + parts - 1) / parts + kTileRows - 1) / kTileRows * kTileRows;
  Job job = job_of(rows, centroids, 0);
  job.bias = half_squared_norms;
  job.last = parts;
  job.winner_bytes = 4;
  auto* values = static_cast<float*>(scratch);
  job.winners = parts > 1 ? static_cast<void*>(values + rows.count * parts) : codes;
  job.maxima = parts > 1 ? values : best;
  cudaError_t status = run_forward(job, rows.type, stream);
  if (status != cudaSuccess || parts == 1) return status;
  const int64_t blocks = (rows.count + 255) / 256;
  return launch(best_part, dim3(static_cast<unsigned>(blocks < 65536 ? blocks : 65536)), 256, 0, stream, rows.count,
                parts, centroids.longest, static_cast<const int32_t*>(job.winners), static_cast<const float*>(values),
                codes, best);
}
