// MaxSim forward as the C interface offers it: checks arguments, cuts them into launches that fit the scratch, and adds
// the tiles of long queries.  Knows sizes and the order of sums; nothing of how dot products are made.

#include "maxsim.h"

#include <limits>

namespace {

// A query of several tiles: their sums, in order.
__global__ void add_tiles(const __grid_constant__ Job job, const float* parts, float* scores) {
  const int64_t width = job.last - job.first, all = job.queries.items * width;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < all; i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t query = i / width, column = i % width;
    const int64_t tiles = tiles_of(job, bounds_of(job.queries, query));
    float total = 0.0f;
    for (int64_t tile = 0; tile < tiles; ++tile) total += parts[(query * job.tiles_per_query + tile) * width + column];
    scores[query * job.columns + job.first + column] = total;
  }
}

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

Job job_of(const FlmrMaxsim& args) { return job_of(args.queries, args.documents, args.per_query); }

}  // namespace

int element_bytes(int type) {
  switch (type) {
    case FLMR_FLOAT32: return 4;
    case FLMR_FLOAT16:
    case FLMR_BFLOAT16: return 2;
    case FLMR_INT8:
    case FLMR_FLOAT8_E4M3: return 1;
    default: return 0;
  }
}

int refuse_items(const FlmrItems& items) {
  if (element_bytes(items.type) == 0) return FLMR_REFUSED_TYPES;
  if (items.count < 0 || items.items < 0 || items.longest < 0 || items.dim < 1 || items.dim > kMostDim)
    return FLMR_REFUSED_SIZES;
  if (items.longest > std::numeric_limits<int32_t>::max() - kTileRows) return FLMR_REFUSED_SIZES;
  if (items.count > 0 && (!items.rows || items.stride < items.dim)) return FLMR_REFUSED_SIZES;
  if (!items.begins != !items.ends) return FLMR_REFUSED_SIZES;
  return 0;
}

int refuse_blocks(int64_t items, int64_t each) {
  return items > 0 && each > std::numeric_limits<int32_t>::max() / items ? FLMR_REFUSED_SIZES : 0;
}

int refuse_maxsim(const FlmrMaxsim& args) {
  const FlmrItems &queries = args.queries, &documents = args.documents;
  for (const FlmrItems* side : {&queries, &documents})
    if (const int refused = refuse_items(*side)) return refused;
  if (queries.type != documents.type || queries.dim != documents.dim) return FLMR_REFUSED_TYPES;
  if (args.per_query < 0) return FLMR_REFUSED_SIZES;
  if (args.per_query > 0 && documents.items != queries.items * args.per_query) return FLMR_REFUSED_PAIRS;
  const int64_t longest = std::numeric_limits<int16_t>::max();
  if (args.winners && args.winner_bytes != 4 && (args.winner_bytes != 2 || documents.longest > longest))
    return FLMR_REFUSED_WINNERS;
  return refuse_blocks(queries.items, ceiling(queries.longest, 32));  // tiles have no fewer rows
}

Side side_of(const FlmrItems& items) {
  const int64_t step = items.stride * element_bytes(items.type);
  const uint64_t bits = reinterpret_cast<uintptr_t>(items.rows) | static_cast<uint64_t>(step);
  const int width = bits % 16 == 0 ? 16 : bits % 8 == 0 ? 8 : bits % 4 == 0 ? 4 : 1;
  return {static_cast<const unsigned char*>(items.rows),
          items.count,
          step,
          items.begins,
          items.ends,
          items.mask,
          items.scales,
          items.items,
          items.longest,
          width};
}

Job job_of(const FlmrItems& queries, const FlmrItems& documents, int64_t per_query) {
  Job job{};
  job.queries = side_of(queries);
  job.documents = side_of(documents);
  job.row_bytes = static_cast<int>(queries.dim * element_bytes(queries.type));
  job.slabs = static_cast<int>(ceiling(job.row_bytes, kSlabBytes));
  job.resident = job.slabs <= kMostResidentSlabs;
  job.per_query = per_query;
  job.columns = per_query ? per_query : documents.items;
  const int64_t longest = most(queries.longest, 1);
  // 128 query rows need up to 125 KB of shared memory; cards with less take them as two tiles.
  const int widest = shared_memory_limit() < 128 << 10 ? 64 : 128;
  job.tile_rows = longest <= 32 ? 32 : longest <= 64 ? 64 : widest;
  job.tiles_per_query = ceiling(longest, job.tile_rows);
  job.slot = least(longest, job.tile_rows);
  // Queries with documents of their own share no tile.
  job.queries_per_tile = per_query || job.tiles_per_query > 1 ? 1 : job.tile_rows / job.slot;
  return job;
}

int64_t tiles_of(const Job& job) { return ceiling(job.queries.items, job.queries_per_tile) * job.tiles_per_query; }

cudaError_t run_forward(Job job, int type, void* stream) {
  const int64_t tiles = tiles_of(job), columns = job.last - job.first;
  if (tiles == 0 || columns == 0) return cudaSuccess;
  // Some four blocks for each that runs at a time: ragged documents even out, and a query tile is seldom read again.
  const int64_t blocks = int64_t(multiprocessors()) * 4 * 4;
  job.columns_per_block = most(ceiling(columns, most(blocks / tiles, 1)), ceiling(columns, 65535));
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(ceiling(columns, job.columns_per_block)));
  if (job.tile_rows == kWgmmaRows && type != FLMR_FLOAT32 && uses_wgmma())
    return launch_maxsim_wgmma(job, type, grid, stream);
  return launch_maxsim_mma(job, type, grid, stream);
}

extern "C" int64_t flmr_cuda_maxsim_scratch(const FlmrMaxsim* args, int64_t limit_bytes) {
  if (const int refused = refuse_maxsim(*args)) return refused;
  const Job job = job_of(*args);
  if (job.tiles_per_query == 1) return 0;
  const int64_t column_bytes = tiles_of(job) * static_cast<int64_t>(sizeof(float));
  return most(least(job.columns, limit_bytes / most(column_bytes, 1)), 1) * column_bytes;
}

extern "C" int flmr_cuda_maxsim_forward(const FlmrMaxsim* args) {
  if (const int refused = refuse_maxsim(*args)) return refused;
  if (const int refused = refuse_device(args->queries.type)) return refused;
  Job job = job_of(*args);
  job.winners = args->winners;
  job.winner_bytes = args->winner_bytes;
  if (job.tiles_per_query == 1) {
    job.sums = args->scores;
    job.sums_stride = job.columns;
    job.last = job.columns;
    return run_forward(job, args->queries.type, args->stream);
  }
  const int64_t column_bytes = tiles_of(job) * static_cast<int64_t>(sizeof(float));
  const int64_t at_once = column_bytes ? args->scratch_bytes / column_bytes : job.columns;
  if (job.columns && (at_once < 1 || (column_bytes && !args->scratch))) return FLMR_REFUSED_SCRATCH;
  job.sums = static_cast<float*>(args->scratch);
  for (job.first = 0; job.first < job.columns; job.first = job.last) {
    job.last = least(job.first + at_once, job.columns);
    job.sums_stride = job.last - job.first;
    cudaError_t status = run_forward(job, args->queries.type, args->stream);
    const int64_t scores = job.queries.items * job.sums_stride;
    if (status == cudaSuccess && scores) {
      const dim3 grid(static_cast<unsigned>(least(ceiling(scores, 256), 65536)));
      status = launch(add_tiles, grid, 256, 0, args->stream, job, static_cast<const float*>(job.sums), args->scores);
    }
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}
