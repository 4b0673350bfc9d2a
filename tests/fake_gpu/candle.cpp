// What stands in for those of candle's own kernels that the program uses on a card, with candle's parameters. Whoever
// asks for another is told that it is missing.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "card.h"
#include "emulate.h"

namespace card {

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

struct Sum {
  template <class T> T operator()(T a, T b) const { return a + b; }
};
struct Difference {
  template <class T> T operator()(T a, T b) const { return a - b; }
};
struct Product {
  template <class T> T operator()(T a, T b) const { return a * b; }
};
struct Quotient {
  template <class T> T operator()(T a, T b) const { return a / b; }
};
/// (numel, num_dims, info with the strides of both, left, right, output)
template <class F> void binary(const uint64_t *a) {
  for (size_t i = 0; i < a[0]; i++) {
    auto info = pointer<const size_t>(a[2]);
    std::vector<size_t> of_right(info, info + (info ? a[1] : 0));
    if (info) of_right.insert(of_right.end(), info + 2 * a[1], info + 3 * a[1]);
    float left = pointer<const float>(a[3])[place(i, a[1], info)];
    pointer<float>(a[5])[i] = F()(left, pointer<const float>(a[4])[place(i, a[1], info ? of_right.data() : nullptr)]);
  }
}

/// (numel, num_dims, info, places, input, output, elements in front, places there are, places asked for, elements behind)
template <class T> void index_select(const uint64_t *a) {
  auto places = pointer<const uint32_t>(a[3]);
  for (size_t i = 0; i < a[0]; i++) {
    size_t which = places[i / a[9] % a[8]], front = i / (a[8] * a[9]);
    if (which >= a[7]) say("index_select: place %zu of %zu", which, size_t(a[7])), abort();
    pointer<T>(a[5])[i] = pointer<const T>(a[4])[(front * a[7] + which) * a[9] + i % a[9]];
  }
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

/// (numel, num_dims, info, input, output, factor, term); with no input it changes the output. In one rounding, as nvcc
/// makes it.
void affine(const uint64_t *a) {
  float factor, term;
  memcpy(&factor, &a[5], 4);
  memcpy(&term, &a[6], 4);
  auto from = pointer<const float>(a[3] ? a[3] : a[4]);
  for (size_t i = 0; i < a[0]; i++)
    pointer<float>(a[4])[i] = std::fma(from[a[3] ? place(i, a[1], pointer<const size_t>(a[2])) : i], factor, term);
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
  {"is_u32_" name, {8, 8, 8, 8, 8, 8, 8, 8, 8, 8}, index_select<T>},        \
  {"const_set_" name, {8, 8, 8, uint32_t(sizeof(T)), 8}, const_set<T>}
#define CAST(S, T, from, to) {"cast_" from "_" to, {8, 8, 8, 8, 8}, cast<S, T>}
      OF_TYPE(float, "f32"), OF_TYPE(bfloat16, "bf16"), OF_TYPE(uint32_t, "u32"),
      {"badd_f32", {8, 8, 8, 8, 8, 8}, binary<Sum>}, {"bsub_f32", {8, 8, 8, 8, 8, 8}, binary<Difference>},
      {"bmul_f32", {8, 8, 8, 8, 8, 8}, binary<Product>}, {"bdiv_f32", {8, 8, 8, 8, 8, 8}, binary<Quotient>},
      {"affine_f32", {8, 8, 8, 8, 8, 4, 4}, affine},
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
