// Fibers, shared memory and guarded device memory of the emulator, and the few calls by which tests steer it.

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device.h"

dim3 blockIdx, blockDim, gridDim;

namespace emulator {

dim3* thread = nullptr;

namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kPageBytes = 4096;
constexpr size_t kGuardBytes = 1 << 20;  // memory that faults, on both sides of what a kernel may touch
constexpr uint32_t kSharedStart = 1024;  // where shared memory begins for shared_address
constexpr int kPoisonBefore = 0x7f, kPoisonUnderway = 0xff;

struct Copy {
  unsigned char* to;
  const unsigned char* from;
  int bytes, valid;
};

enum State { kReady, kWaiting, kDone };

struct Fiber {
  dim3 index;
  State state = kDone;
  const char* waits_for = "";
  Operation operation = nullptr;
  void* argument = nullptr;
  std::vector<std::vector<Copy>> groups;  // committed, the oldest first
  std::vector<Copy> copies;               // not yet committed
  bool unfenced = false;                  // copies landed since the last fence for wgmma
  bool begun = false;                     // wgmma may touch the sums
  bool started = false;
  jmp_buf jump;
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
};

// A product of a warp's share of a warpgroup that is not waited for.
struct Product {
  Operation run;
  WarpgroupLane lanes[32];
};

// A warp's products under way, and its sums as they were before: until the wait, the kernel sees poison.
struct Underway {
  std::vector<Product> products;
  size_t committed = 0;
  unsigned char sums[32][256];
};

std::vector<std::unique_ptr<Fiber>> fibers;
Fiber* current = nullptr;
const std::function<void()>* kernel = nullptr;
jmp_buf home;
sigjmp_buf rescue;
std::string message;
std::vector<int> ready;  // warps with lanes that can go on
std::vector<int> arrived;
std::vector<Underway> underway;
bool unfenced_at_barrier = false;  // copies passed a barrier without a fence for wgmma
int at_barrier = 0, done = 0, num_threads = 0;
unsigned char* shared = nullptr;
size_t shared_bytes = 0, shared_capacity = 0;
uint64_t random_state = 1;
int64_t conflicts = 0, fetches = 0;
int capability = 90, processors = 3;
size_t free_bytes = size_t(1) << 30;
std::map<void*, std::pair<unsigned char*, size_t>> allocations;  // where their pages begin, and the bytes of these

// Memory with guards on both sides; bytes: whole pages.  It ends the tests where there is none.
unsigned char* map_guarded(size_t bytes) {
  void* whole = mmap(nullptr, bytes + 2 * kGuardBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (whole == MAP_FAILED) std::abort();
  auto* data = static_cast<unsigned char*>(whole) + kGuardBytes;
  if (mprotect(data, bytes, PROT_READ | PROT_WRITE)) std::abort();
  return data;
}

void unmap_guarded(unsigned char* data, size_t bytes) { munmap(data - kGuardBytes, bytes + 2 * kGuardBytes); }

// What a block may ask for, by compute capability (CUDA programming guide, technical specifications).
int shared_limit() { return (capability == 80 ? 163 : capability < 90 ? 99 : 227) << 10; }

uint32_t draw(uint32_t below) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<uint32_t>((random_state >> 33) % below);
}

void fiber_main() {
  for (;;) {
    (*kernel)();
    current->state = kDone;
    ++done;
    if (!current->copies.empty() || !current->groups.empty()) fail("a thread ends with copies under way");
    if (_setjmp(current->jump) == 0) _longjmp(home, 1);
  }
}

__attribute__((noinline)) void resume(Fiber& fiber) {
  current = &fiber;
  thread = &fiber.index;
  if (_setjmp(home)) return;
  if (fiber.started) _longjmp(fiber.jump, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
  setcontext(&fiber.context);
}

__attribute__((noinline)) void suspend() {
  if (_setjmp(current->jump) == 0) _longjmp(home, 1);
}

void run_block() {
  const int warps = num_threads / 32;
  ready.clear();
  arrived.assign(warps, 0);
  underway.assign(warps, {});
  unfenced_at_barrier = false;
  at_barrier = done = 0;
  std::memset(shared, kPoisonBefore, shared_capacity);
  for (int w = 0; w < warps; ++w) ready.push_back(w);
  for (int t = 0; t < num_threads; ++t) {
    fibers[t]->index = dim3(t, 0, 0);
    fibers[t]->state = kReady;
    fibers[t]->unfenced = fibers[t]->begun = false;
  }
  while (!ready.empty()) {
    const int at = draw(ready.size()), warp = ready[at], turn = draw(32);
    ready[at] = ready.back();
    ready.pop_back();
    for (int i = 0; i < 32; ++i) {
      Fiber& fiber = *fibers[warp * 32 + (i ^ turn)];
      if (fiber.state == kReady) resume(fiber);
    }
  }
  if (done == num_threads) return;
  std::map<std::string, int> waiting;
  for (int t = 0; t < num_threads; ++t)
    if (fibers[t]->state == kWaiting) ++waiting[fibers[t]->waits_for];
  std::string text = std::to_string(done) + " threads have ended";
  for (const auto& [name, count] : waiting) text += ", " + std::to_string(count) + " wait at a " + name;
  fail("block (%u, %u) cannot go on: %s", blockIdx.x, blockIdx.y, text.c_str());
}

void on_fault(int, siginfo_t* info, void*) {
  char text[160];
  std::snprintf(text, sizeof text, "block (%u, %u), thread %u: no memory at address %p", blockIdx.x, blockIdx.y,
                thread ? thread->x : 0, info->si_addr);
  message = text;
  siglongjmp(rescue, 1);
}

void perform(Fiber& fiber, const std::vector<Copy>& copies) {
  for (const Copy& copy : copies) {
    if (copy.valid) std::memcpy(copy.to, copy.from, copy.valid);
    std::memset(copy.to + copy.valid, 0, copy.bytes - copy.valid);
  }
  if (!copies.empty()) fiber.unfenced = true;
}

}  // namespace

void fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  message = text;
  siglongjmp(rescue, 1);
}

void meet(const char* name, Operation operation, void* argument) {
  Fiber& fiber = *current;
  const int warp = fiber.index.x / 32;
  fiber.waits_for = name;
  fiber.operation = operation;
  fiber.argument = argument;
  if (++arrived[warp] < 32) {
    fiber.state = kWaiting;
    suspend();
    return;
  }
  void* lanes[32];
  for (int l = 0; l < 32; ++l) {
    Fiber& other = *fibers[warp * 32 + l];
    if (other.operation != operation) fail("lanes of warp %d meet at a %s and a %s", warp, name, other.waits_for);
    lanes[l] = other.argument;
  }
  operation(lanes);
  arrived[warp] = 0;
  for (int l = 0; l < 32; ++l) fibers[warp * 32 + l]->state = kReady;
  ready.push_back(warp);
}

void check_shared(const char* name, const void* address, size_t bytes, size_t alignment) {
  const auto* at = static_cast<const unsigned char*>(address);
  if (at < shared || at + bytes > shared + shared_bytes) fail("%s outside shared memory", name);
  if ((at - shared) % alignment) fail("%s at %zd, which is not a multiple of %zu", name, at - shared, alignment);
}

void copy(void* to, const void* from, int bytes, int valid) {
  check_shared("copy", to, bytes, bytes);
  if (reinterpret_cast<uintptr_t>(from) % bytes) fail("copy of %d bytes from an address between them", bytes);
  if (valid < 0 || valid > bytes) fail("copy of %d of %d bytes", valid, bytes);
  std::memset(to, kPoisonUnderway, bytes);
  current->copies.push_back({static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), bytes, valid});
}

int run(dim3 grid, int threads, size_t bytes, const std::function<void()>& body) {
  if (threads < 1 || threads > 1024 || threads % 32 || bytes > static_cast<size_t>(shared_limit()) || grid.y > 65535 ||
      grid.x == 0 || grid.y == 0) {
    message = "a launch that no device takes";
    return cudaErrorLaunchFailure;
  }
  while (fibers.size() < static_cast<size_t>(threads)) fibers.emplace_back(new Fiber);
  const size_t capacity = (bytes + kPageBytes) / kPageBytes * kPageBytes;
  shared = map_guarded(capacity);
  shared_bytes = bytes;
  shared_capacity = capacity;
  num_threads = threads;
  kernel = &body;
  blockDim = dim3(threads);
  gridDim = grid;

  static char signal_stack[64 << 10];
  stack_t stack{}, old_stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, &old_stack);
  struct sigaction action{}, old_segv{}, old_bus{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
  volatile int status = cudaSuccess;
  if (sigsetjmp(rescue, 1) == 0) {
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y);
        run_block();
      }
  } else {
    status = cudaErrorLaunchFailure;
    fibers.clear();
  }
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  sigaltstack(&old_stack, nullptr);
  unmap_guarded(shared, capacity);
  return status;
}

float float_of_half(uint16_t bits) {
  static const std::vector<float> table = [] {
    std::vector<float> values(65536);
    for (int i = 0; i < 65536; ++i) {
      const int exponent = i >> 10 & 31, fraction = i & 1023;
      float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                    : exponent     ? std::ldexp(1024.0f + fraction, exponent - 25)
                                   : std::ldexp(static_cast<float>(fraction), -24);
      values[i] = i >> 15 ? -value : value;
    }
    return values;
  }();
  return table[bits];
}

float float_of_float8(uint8_t bits) {
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  const float value = (bits & 127) == 127 ? NAN
                      : exponent          ? std::ldexp(8.0f + fraction, exponent - 10)
                                          : std::ldexp(static_cast<float>(fraction), -9);
  return bits >> 7 ? -value : value;
}

void warpgroup_issue(Operation product, WarpgroupLane& lane) {
  if (!current->begun) fail("wgmma before wgmma.fence");
  if (unfenced_at_barrier) fail("wgmma of copies that passed a barrier without fence.proxy.async");
  struct Argument {
    Operation product;
    WarpgroupLane* lane;
  } argument{product, &lane};
  meet(
      "wgmma",
      [](void* const(&lanes)[32]) {
        Underway& warp = underway[current->index.x / 32];
        const WarpgroupLane& first = *static_cast<Argument*>(lanes[0])->lane;
        Product product{static_cast<Argument*>(lanes[0])->product, {}};
        for (int l = 0; l < 32; ++l) {
          product.lanes[l] = *static_cast<Argument*>(lanes[l])->lane;
          const WarpgroupLane& each = product.lanes[l];
          if (each.queries != first.queries || each.documents != first.documents || each.add != first.add)
            fail("lanes disagree about the operands of wgmma");
          if (!warp.products.empty()) continue;
          std::memcpy(warp.sums[l], each.sums, sizeof warp.sums[l]);
          std::memset(each.sums, kPoisonUnderway, sizeof warp.sums[l]);
        }
        warp.products.push_back(product);
      },
      &argument);
}

void warpgroup_join(void* sums) {
  current->begun = false;
  meet(
      "wgmma.wait_group",
      [](void* const(&lanes)[32]) {
        Underway& warp = underway[current->index.x / 32];
        if (warp.products.empty()) return;
        if (warp.committed < warp.products.size()) fail("wgmma is waited for that was not committed");
        for (int l = 0; l < 32; ++l) std::memcpy(lanes[l], warp.sums[l], sizeof warp.sums[l]);
        for (Product& product : warp.products) {
          void* arguments[32];
          for (int l = 0; l < 32; ++l) {
            if (product.lanes[l].sums != lanes[l]) fail("wgmma is waited for with other sums");
            arguments[l] = &product.lanes[l];
          }
          product.run(arguments);
        }
        warp.products.clear();
        warp.committed = 0;
      },
      sums);
}

const unsigned char* warpgroup_bytes(uint64_t descriptor, int row, int byte) {
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) fail("wgmma of another layout than 128-byte swizzle");
  const uint32_t start = (descriptor & 0x3fff) << 4, step = (descriptor >> 32 & 0x3fff) << 4;
  uint32_t address = start + row / 8 * step + row % 8 * 128 + byte;
  address ^= (address >> 7 & 7) << 4;
  if (address < kSharedStart || address - kSharedStart >= shared_bytes) fail("wgmma outside shared memory");
  return shared + (address - kSharedStart);
}

int warp_of_warpgroup() { return current->index.x / 32 % 4; }

void check_pieces(const void* const (&addresses)[32]) {
  for (int first = 0; first < 32; first += 8) {
    unsigned banks = 0;
    for (int i = first; i < first + 8; ++i)
      banks |= 1u << (static_cast<const unsigned char*>(addresses[i]) - shared) / 16 % 8;
    ++fetches;
    conflicts += banks != 255;
  }
}

}  // namespace emulator

using namespace emulator;

unsigned char* shared_memory() { return shared; }
uint32_t shared_address(const void* pointer) {
  return kSharedStart + static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - shared);
}

void barrier() {
  Fiber& fiber = *current;
  fiber.waits_for = "barrier";
  unfenced_at_barrier |= fiber.unfenced;
  if (++at_barrier < num_threads) {
    fiber.state = kWaiting;
    suspend();
    return;
  }
  at_barrier = 0;
  for (int t = 0; t < num_threads; ++t) fibers[t]->state = kReady;
  for (int w = 0; w < num_threads / 32; ++w) ready.push_back(w);
  if (draw(2)) {  // the last to come is not always the first to go on
    suspend();
  }
}

void fence_copies() { current->unfenced = false; }
void warpgroup_begin() { current->begun = true; }
void warpgroup_commit() {
  Underway& warp = underway[current->index.x / 32];
  warp.committed = warp.products.size();
}

void copy_commit() {
  current->groups.push_back(std::move(current->copies));
  current->copies.clear();
}

void copy_wait_for(int pending) {
  auto& groups = current->groups;
  while (groups.size() > static_cast<size_t>(pending)) {
    perform(*current, groups.front());
    groups.erase(groups.begin());
  }
}

void load_matrices(uint32_t (&out)[4], const void* address) {
  struct Lane {
    uint32_t* out;
    const void* address;
  } lane{out, address};
  check_shared("ldmatrix", address, 16, 16);
  meet(
      "ldmatrix",
      [](void* const(&lanes)[32]) {
        const void* addresses[32];
        for (int l = 0; l < 32; ++l) addresses[l] = static_cast<Lane*>(lanes[l])->address;
        check_pieces(addresses);
        for (int l = 0; l < 32; ++l)
          for (int i = 0; i < 4; ++i) {
            const auto* row = static_cast<const unsigned char*>(addresses[i * 8 + l / 4]);
            std::memcpy(&static_cast<Lane*>(lanes[l])->out[i], row + l % 4 * 4, 4);
          }
      },
      &lane);
}

// The last byte stands before memory that faults, as does the first page; what is not written is poison.
// alignment: that of the end, so that 1, 2 or 4 leaves no room at all and perhaps an odd beginning.
extern "C" void* emulator_allocate(size_t bytes, size_t alignment) {
  const size_t pages = (bytes + alignment + kPageBytes - 1) / kPageBytes * kPageBytes;
  unsigned char* begin = map_guarded(pages);
  unsigned char* data = begin + pages - (bytes + alignment - 1) / alignment * alignment;
  std::memset(begin, kPoisonBefore, pages);
  allocations[data] = {begin, pages};
  return data;
}

extern "C" void emulator_free(void* data) {
  const auto found = allocations.find(data);
  if (found == allocations.end()) std::abort();
  unmap_guarded(found->second.first, found->second.second);
  allocations.erase(found);
}

extern "C" void emulator_seed(uint64_t seed) { random_state = seed * 2 + 1; }
extern "C" void emulator_device(int new_capability, int new_processors, size_t new_free_bytes) {
  capability = new_capability, processors = new_processors, free_bytes = new_free_bytes;
}
extern "C" int64_t emulator_conflicts() { return conflicts; }
extern "C" int64_t emulator_fetches() { return fetches; }
extern "C" int64_t emulator_allocations() { return static_cast<int64_t>(allocations.size()); }

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (bytes > free_bytes) return cudaErrorMemoryAllocation;
  *pointer = emulator_allocate(bytes, 16);
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  if (pointer) emulator_free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_out, size_t* all_out) {
  *free_out = *all_out = free_bytes;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int) {
  switch (name) {
    case cudaDevAttrMultiProcessorCount: *value = processors; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = shared_limit(); break;
    case cudaDevAttrComputeCapabilityMajor: *value = capability / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = capability % 10; break;
  }
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaSuccess ? "no error" : status == cudaErrorMemoryAllocation ? "out of memory" : message.c_str();
}
