// Work shared among threads that live for one call.
//
// There is no pool: no thread outlives a call, so a process may fork at any time between calls, and starting one costs
// about 20 microseconds.

#pragma once
#include <atomic>
#include <cstdint>
#include <functional>

namespace flmr {

// Hands out unit numbers 0 .. count-1, each once, in order.
class Units {
 public:
  explicit Units(int64_t count) : count_(count) {}
  bool take(int64_t& unit) { return (unit = next_.fetch_add(1, std::memory_order_relaxed)) < count_; }
  void stop() { next_.store(count_, std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> next_{0};
  const int64_t count_;
};

// Calls `worker(units)` on up to `threads` threads, the caller's among them; each takes units until none is left.
// The first exception of any worker is thrown again here, after all have ended.
void share(int64_t count, int threads, const std::function<void(Units&)>& worker);

}  // namespace flmr
