// What the host code of the CUDA library shares: checks, the sizes of a job, and the launches that each kernel's file
// offers.

#pragma once

#include "job.h"

constexpr int kWgmmaRows = 128;

int element_bytes(int type);  // 0 for no type
int refuse_items(const FlmrItems& items);
int refuse_maxsim(const FlmrMaxsim& args);
int refuse_blocks(int64_t items, int64_t each);  // where a grid has no numbers for them
Side side_of(const FlmrItems& items);

// A job over these sides, without its outputs; columns: all documents or each query's.
Job job_of(const FlmrItems& queries, const FlmrItems& documents, int64_t per_query);
int64_t tiles_of(const Job& job);
// Runs the columns job.first .. job.last, shared among enough blocks to fill the device.
cudaError_t run_forward(Job job, int type, void* stream);

int device_capability();  // 10 * major + minor; 0 where there is no device
int multiprocessors();
int shared_memory_limit();  // bytes that a block may ask for
bool uses_wgmma();
int refuse_device(int type);

cudaError_t launch_maxsim_mma(const Job& job, int type, dim3 grid, void* stream);
cudaError_t launch_maxsim_wgmma(const Job& job, int type, dim3 grid, void* stream);  // tiles of kWgmmaRows
