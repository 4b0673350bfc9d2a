// What the fake card can run: the kernels of `kernels/*.cu` through the emulator, and the few of candle's own that the
// program uses.
#include <cstring>

#include "card.h"
#include "emulate.h"

extern "C" int v5_emulate(const char *name, const unsigned *grid, const unsigned *size, unsigned shared_bytes,
                          const emulate::Argument *arguments, unsigned count, unsigned seed, char *message);

namespace card {

namespace {
// The emulator's numbers for kinds of parameters.
constexpr uint32_t COUNT = 10, NUMBER = 11, POINTER = 100;
}  // namespace

size_t Kernel::bytes(size_t parameter) const {
  if (native) return kinds[parameter];
  return kinds[parameter] == POINTER ? 8 : 4;
}

bool Kernel::is_pointer(size_t parameter) const { return !native && kinds[parameter] == POINTER; }

std::shared_ptr<const Kernel> ours(const std::string &name) {
  const emulate::Kernel *found = emulate::kernels;
  while (found && name != found->name) found = found->next;
  if (!found) return nullptr;
  auto kernel = std::make_shared<Kernel>();
  kernel->name = name;
  // A call tells no types; the emulator says which argument is the first that does not fit.
  std::vector<emulate::Argument> tried(found->parameters, {0, POINTER});
  for (int bad; (bad = found->check(tried.data())) >= 0;) {
    auto &kind = tried[size_t(bad)].kind;
    if (kind == NUMBER) return nullptr;
    kind = kind == POINTER ? COUNT : NUMBER;
  }
  for (auto &argument : tried) kernel->kinds.push_back(argument.kind);
  return kernel;
}

std::string run(const Kernel &kernel, const unsigned grid[3], const unsigned block[3], unsigned shared,
                const std::vector<uint64_t> &values) {
  if (kernel.native) return kernel.native(values.data()), "";
  static unsigned seed = 1;
  std::vector<emulate::Argument> arguments;
  for (size_t i = 0; i < values.size(); i++) arguments.push_back({values[i], kernel.kinds[i]});
  char message[2048] = "";
  int failed = v5_emulate(kernel.name.c_str(), grid, block, shared, arguments.data(), unsigned(arguments.size()), seed++,
                          message);
  return failed ? message : "";
}

namespace {

struct bfloat16 {
  uint16_t bits;
  operator float() const { return __bfloat162float({bits}); }
  bfloat16(float x = 0) : bits(__float2bfloat16(x).bits) {}
};

/// Where element `i` of a tensor lies; `info` has its dimensions and its strides, or is null where it is contiguous.
size_t place(size_t i, size_t dims, const size_t *info) {
  if (!info) return i;
  size_t at = 0;
  for (size_t d = dims; d-- > 0; i /= info[d]) at += i % info[d] * info[dims + d];
  return at;
}

template <class T> T *pointer(uint64_t bits) { return reinterpret_cast<T *>(bits); }

/// (numel, num_dims, info, input, output)
template <class S, class T> void cast(const uint64_t *a) {
  for (size_t i = 0; i < a[0]; i++)
    pointer<T>(a[4])[i] = T(pointer<const S>(a[3])[place(i, a[1], pointer<const size_t>(a[2]))]);
}

/// (from, to, rows, columns, stride of from, stride of to)
template <class T> void copy2d(const uint64_t *a) {
  for (size_t i = 0; i < a[2]; i++) memmove(pointer<T>(a[1]) + i * a[5], pointer<const T>(a[0]) + i * a[4], a[3] * sizeof(T));
}

/// (numel, num_dims, info, value, output)
template <class T> void const_set(const uint64_t *a) {
  T value;
  memcpy(&value, &a[3], sizeof(T));
  for (size_t i = 0; i < a[0]; i++) pointer<T>(a[4])[place(i, a[1], pointer<const size_t>(a[2]))] = value;
}

struct Native {
  const char *name;
  std::vector<uint32_t> bytes;
  void (*run)(const uint64_t *);
};

const std::vector<Native> &natives() {
  static auto &all = *new std::vector<Native>{
#define OF_TYPE(T, name)                                                  \
  {"ucopy_" name, {8, 8, 8, 8, 8}, cast<T, T>},                           \
  {"copy2d_" name, {8, 8, 4, 4, 4, 4}, copy2d<T>},                        \
  {"const_set_" name, {8, 8, 8, uint32_t(sizeof(T)), 8}, const_set<T>}
#define CAST(S, T, from, to) {"cast_" from "_" to, {8, 8, 8, 8, 8}, cast<S, T>}
      OF_TYPE(float, "f32"), OF_TYPE(bfloat16, "bf16"), OF_TYPE(uint32_t, "u32"),
      CAST(float, bfloat16, "f32", "bf16"), CAST(bfloat16, float, "bf16", "f32"),
      CAST(float, double, "f32", "f64"), CAST(double, float, "f64", "f32"),
      CAST(bfloat16, double, "bf16", "f64"), CAST(uint32_t, float, "u32", "f32"),
#undef OF_TYPE
#undef CAST
  };
  return all;
}

}  // namespace

std::shared_ptr<const Kernel> candles(const std::string &name) {
  for (auto &native : natives())
    if (name == native.name) return std::make_shared<Kernel>(Kernel{name, native.bytes, native.run});
  return nullptr;
}

}  // namespace card
