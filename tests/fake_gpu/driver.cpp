// libcuda: device, contexts, streams, events, modules and launches. Memory is in memory.cpp.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "card.h"

using namespace card;

namespace card {
bool initialised = false;
thread_local void *current_context = nullptr;
}  // namespace card

namespace {

/// Handles that somebody has and has not given back.
std::set<const void *> &live() {
  static auto &all = *new std::set<const void *>;
  return all;
}
template <class T> T *opened(T *handle) {
  live().insert(handle);
  return handle;
}
template <class T> int closed(T *handle) {
  if (!live().erase(handle)) return INVALID_HANDLE;
  delete handle;
  return SUCCESS;
}
bool is_live(const void *handle) { return live().count(handle); }

struct Context {};
struct Event {};
/// A stream of somebody's own; 0, 1 and 2 are the driver's.
struct Stream {};
struct Module {
  bool candles;                 // PTX, as candle has its kernels
  std::set<std::string> names;  // of its entries; of a fat binary, which is compressed, nobody knows them
};
struct Function {
  std::shared_ptr<const Kernel> kernel;
  unsigned allowed = 48 * 1024;  // bytes of dynamic shared memory
};

Context primary;
const char *fat_binary = "\x50\xed\x55\xba";

bool is_stream(void *stream) { return reinterpret_cast<uintptr_t>(stream) <= 2 || is_live(stream); }
int devices() { return int(setting("V5_FAKE_GPU_DEVICES", 1)); }
/// Ten times the major number, and the minor one.
int capability() { return int(setting("V5_FAKE_GPU_CAPABILITY", 90)); }
/// Bytes of shared memory that a block gets if it asks: an H200's.
unsigned most_shared() { return unsigned(setting("V5_FAKE_GPU_SHARED", 227 * 1024)); }

/// Every word behind `.entry` up to its parenthesis.
std::set<std::string> entries(const char *ptx) {
  std::set<std::string> names;
  for (const char *at = ptx; (at = strstr(at, ".entry "));) {
    at += strlen(".entry ");
    names.emplace(at, strcspn(at, " (\n"));
  }
  return names;
}

}  // namespace

EXPORTED int cuInit(unsigned) {
  ENTER_AS(false, false);
  if (!devices()) return NO_DEVICE;
  initialised = true;
  return SUCCESS;
}
EXPORTED int cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
EXPORTED int cuDeviceGetCount(int *n) {
  ENTER_ANYWHERE;
  return *n = devices(), SUCCESS;
}
EXPORTED int cuDeviceGet(int *device, int ordinal) {
  ENTER_ANYWHERE;
  if (ordinal < 0 || ordinal >= devices()) return INVALID_DEVICE;
  return *device = ordinal, SUCCESS;
}
EXPORTED int cuDeviceGetName(char *name, int size, int) {
  ENTER_ANYWHERE;
  return snprintf(name, size_t(size), "fake"), SUCCESS;
}
EXPORTED int cuDeviceGetAttribute(int *value, int attribute, int) {
  ENTER_ANYWHERE;
  switch (attribute) {
    case 1: return *value = 1024, SUCCESS;                      // threads of a block
    case 8: return *value = 48 * 1024, SUCCESS;                 // shared memory of a block that does not ask
    case 10: return *value = 32, SUCCESS;                       // threads of a warp
    case 12: return *value = 65536, SUCCESS;                    // registers of a block
    case 16: return *value = 132, SUCCESS;                      // multiprocessors
    case 39: return *value = 2048, SUCCESS;                     // threads of a multiprocessor
    case 75: return *value = capability() / 10, SUCCESS;
    case 76: return *value = capability() % 10, SUCCESS;
    case 81: return *value = int(most_shared()) + 1024, SUCCESS;  // shared memory of a multiprocessor
    case 97: return *value = int(most_shared()), SUCCESS;
    case 115: return *value = 1, SUCCESS;                       // pools of memory
    case 41: return *value = 1, SUCCESS;                        // one space of addresses
  }
  say("cuDeviceGetAttribute: attribute %d is not known here", attribute);
  return INVALID_VALUE;
}

EXPORTED int cuDevicePrimaryCtxRetain(void **context, int device) {
  ENTER_ANYWHERE;
  if (device < 0 || device >= devices()) return INVALID_DEVICE;
  return *context = &primary, SUCCESS;
}
EXPORTED int cuDevicePrimaryCtxRelease_v2(int) {
  ENTER_ANYWHERE;
  return SUCCESS;
}
EXPORTED int cuCtxGetCurrent(void **context) {
  ENTER_ANYWHERE;
  return *context = current_context, SUCCESS;
}
EXPORTED int cuCtxSetCurrent(void *context) {
  ENTER_ANYWHERE;
  if (context && context != &primary) return INVALID_CONTEXT;
  return current_context = context, SUCCESS;
}
EXPORTED int cuCtxSynchronize() {
  ENTER;
  return finish();
}

EXPORTED int cuStreamCreate(void **stream, unsigned) {
  ENTER;
  return *stream = opened(new Stream), SUCCESS;
}
EXPORTED int cuStreamDestroy_v2(void *stream) {
  ENTER_ANYWHERE;
  return closed(static_cast<Stream *>(stream));
}
EXPORTED int cuStreamSynchronize(void *stream) {
  ENTER;
  if (!is_stream(stream)) return INVALID_HANDLE;
  return finish();
}
EXPORTED int cuStreamWaitEvent(void *stream, void *event, unsigned) {
  ENTER;
  return is_stream(stream) && is_live(event) ? SUCCESS : INVALID_HANDLE;
}
EXPORTED int cuStreamIsCapturing(void *stream, int *status) {
  ENTER;
  if (!is_stream(stream)) return INVALID_HANDLE;
  return *status = 0, SUCCESS;
}

EXPORTED int cuEventCreate(void **event, unsigned) {
  ENTER;
  return *event = opened(new Event), SUCCESS;
}
EXPORTED int cuEventDestroy_v2(void *event) {
  ENTER_ANYWHERE;
  return closed(static_cast<Event *>(event));
}
EXPORTED int cuEventRecord(void *event, void *stream) {
  ENTER;
  return is_stream(stream) && is_live(event) ? SUCCESS : INVALID_HANDLE;
}
EXPORTED int cuEventQuery(void *event) {
  ENTER;
  return is_live(event) ? finish() : INVALID_HANDLE;
}
EXPORTED int cuEventSynchronize(void *event) {
  ENTER;
  return is_live(event) ? finish() : INVALID_HANDLE;
}

EXPORTED int cuModuleLoadData(void **module, const void *image) {
  ENTER;
  auto text = static_cast<const char *>(image);
  bool fat = !memcmp(text, fat_binary, 4);
  if (!fat && !strstr(text, ".version")) return INVALID_IMAGE;
  // What build.rs compiles runs from Ampere on, and PTX from what it was compiled for.
  const char *target = fat ? nullptr : strstr(text, ".target sm_");
  if (capability() < (target ? atoi(target + strlen(".target sm_")) : 80)) return NO_BINARY_FOR_GPU;
  return *module = opened(new Module{!fat, fat ? std::set<std::string>() : entries(text)}), SUCCESS;
}
EXPORTED int cuModuleUnload(void *module) {
  ENTER;
  return closed(static_cast<Module *>(module));
}
EXPORTED int cuModuleGetFunction(void **function, void *module, const char *name) {
  ENTER;
  if (int code = fault("cuModuleGetFunction", name)) return code;
  if (!is_live(module)) return INVALID_HANDLE;
  auto &from = *static_cast<Module *>(module);
  if (from.candles && !from.names.count(name)) return NOT_FOUND;
  auto kernel = from.candles ? candles(name) : ours(name);
  if (from.candles && !kernel) {
    say("candle's kernel %s is not known here", name);
    return NOT_SUPPORTED;
  }
  if (!kernel) return NOT_FOUND;
  return *function = opened(new Function{kernel}), SUCCESS;
}
EXPORTED int cuFuncSetAttribute(void *function, int attribute, int value) {
  ENTER;
  if (!is_live(function)) return INVALID_HANDLE;
  constexpr int DYNAMIC_SHARED = 8;
  if (attribute != DYNAMIC_SHARED) {
    say("cuFuncSetAttribute: attribute %d is not known here", attribute);
    return NOT_SUPPORTED;
  }
  if (value < 0 || unsigned(value) > most_shared()) return INVALID_VALUE;
  return static_cast<Function *>(function)->allowed = unsigned(value), SUCCESS;
}

EXPORTED int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                            unsigned bz, unsigned shared, void *stream, void **parameters, void **extra) {
  ENTER;
  if (!is_live(function) || !is_stream(stream)) return INVALID_HANDLE;
  auto &f = *static_cast<Function *>(function);
  auto kernel = f.kernel;
  count("kernel " + kernel->name);
  if (int code = fault("cuLaunchKernel", kernel->name.c_str())) return code;
  bool fits = gx && gy && gz && gx < 1u << 31 && gy < 1u << 16 && gz < 1u << 16;
  fits = fits && bx && by && bz && uint64_t(bx) * by * bz <= 1024 && shared <= f.allowed;
  if (!fits || extra) {
    say("%s: %u x %u x %u blocks of %u x %u x %u threads, %u bytes of shared memory of %u allowed",
        kernel->name.c_str(), gx, gy, gz, bx, by, bz, shared, f.allowed);
    return INVALID_VALUE;
  }
  // Parameters are read now, memory when the kernel runs.
  std::vector<uint64_t> values(kernel->kinds.size());
  for (size_t i = 0; i < values.size(); i++) memcpy(&values[i], parameters[i], kernel->bytes(i));
  enqueue([=] {
    if (int code = fault_of_work(kernel->name.c_str())) return fail(code, kernel->name);
    for (size_t i = 0; i < values.size(); i++)
      if (kernel->is_pointer(i) && values[i] && !holds(values[i], 0))
        return fail(ILLEGAL_ADDRESS, kernel->name + ": argument " + std::to_string(i) + " is no memory of the card");
    unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    auto why = run(*kernel, grid, block, shared, values);
    if (!why.empty()) return fail(LAUNCH_FAILED, kernel->name + ": " + why);
    for (size_t i = 0; i < values.size(); i++)
      if (kernel->is_pointer(i) && values[i] && overrun(values[i]))
        return fail(ILLEGAL_ADDRESS, kernel->name + ": written outside argument " + std::to_string(i));
  });
  return setting("CUDA_LAUNCH_BLOCKING", 0) ? finish() : int(SUCCESS);
}

namespace {
struct Words {
  int code;
  const char *name, *text;
};
const Words WORDS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};
int words(int code, const char **text, const char *Words::*which) {
  for (auto &w : WORDS)
    if (w.code == code) return *text = w.*which, SUCCESS;
  return *text = nullptr, INVALID_VALUE;
}
}  // namespace
EXPORTED int cuGetErrorName(int code, const char **text) { return words(code, text, &Words::name); }
EXPORTED int cuGetErrorString(int code, const char **text) { return words(code, text, &Words::text); }
