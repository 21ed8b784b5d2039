#include "threads.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace flmr {

void share(int64_t count, int threads, const std::function<void(Units&)>& worker) {
  if (count <= 0) return;
  Units units(count);
  std::exception_ptr failure;
  std::mutex failing;
  const auto guarded = [&] {
    try {
      worker(units);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failing);
      if (!failure) failure = std::current_exception();
      units.stop();
    }
  };
  const int64_t helpers = std::min<int64_t>(threads, count) - 1;
  std::vector<std::thread> running;
  running.reserve(static_cast<size_t>(std::max<int64_t>(helpers, 0)));
  for (int64_t i = 0; i < helpers; ++i) {
    try {
      running.emplace_back(guarded);
    } catch (const std::system_error&) {
      break;  // the system allows no more threads: those there are do all the work, with the same result
    }
  }
  guarded();
  for (std::thread& thread : running) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace flmr
