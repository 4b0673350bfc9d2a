// A card that is not there: what the parts of the fake CUDA libraries know of each other. `scripts/fake-gpu.sh` says
// how to use them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace card {

/// What the driver answers, by CUDA's numbers.
enum Code {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  NO_BINARY_FOR_GPU = 209,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_OUT_OF_RESOURCES = 701,
  LAUNCH_FAILED = 719,
  NOT_SUPPORTED = 801,
};

/// One call at a time, from whatever thread.
std::recursive_mutex &turn();
/// How every function begins: counts the call, and returns what it has to answer at once, if anything: an error that
/// was asked for, or the one that the card has been in since.
int enter(const char *function, bool with_context, bool initialised = true);
/// What V5_FAKE_GPU_FAULT asks of this call, or of the call for this kernel; it may not return.
int fault(const char *function, const char *kernel = nullptr);
/// The same of work that the card begins, whichever or this one.
int fault_of_work(const char *kernel);
/// Counts something, for V5_FAKE_GPU_LOG.
void count(const std::string &what);
/// Says something on standard error.
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// The card is in trouble from now on, as after an illegal address, and says why.
void fail(int code, const std::string &why);
/// A number from the environment.
uint64_t setting(const char *variable, uint64_t otherwise);

/// Work in the order of the calls: done at once, or with V5_FAKE_GPU_LATE when somebody waits for it.
void enqueue(std::function<void()> work);
/// Waits for all of it.
int finish();

/// Whether so many bytes from there on are the card's memory.
bool holds(uint64_t address, size_t bytes);
/// Whether somebody has written outside the allocation that holds this address.
bool overrun(uint64_t address);

/// A kernel that the fake can run.
struct Kernel {
  std::string name;
  std::vector<uint32_t> kinds;  // of parameters, by the emulator's numbers; with `native` their bytes
  std::function<void(const uint64_t *)> native;  // candle's, without the emulator
  size_t bytes(size_t parameter) const;
  bool is_pointer(size_t parameter) const;
};
/// One of ours, or one of candle's; none where there is no such.
std::shared_ptr<const Kernel> ours(const std::string &name);
std::shared_ptr<const Kernel> candles(const std::string &name);
/// Runs it; why it failed, or nothing.
std::string run(const Kernel &kernel, const unsigned grid[3], const unsigned block[3], unsigned shared,
                const std::vector<uint64_t> &values);

}  // namespace card

#define ENTER_AS(...)                                            \
  std::lock_guard<std::recursive_mutex> turn(card::turn());      \
  if (int code = card::enter(__func__, __VA_ARGS__)) return code
/// For functions that need a current context.
#define ENTER ENTER_AS(true)
/// For those that need none.
#define ENTER_ANYWHERE ENTER_AS(false)
