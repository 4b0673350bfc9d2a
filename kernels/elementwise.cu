// Functions of one element at a time, columns of a matrix, and sums over rows.
//
// Each thread takes 16 bytes of every operand where all lie on 16 bytes, else the same elements one by one. Grid
// of the element-wise kernels: a thread for every 16 bytes of n elements; no shared memory.
#include "gelu.cuh"

namespace v5::elementwise {

/// f(place, in, out) on the values of one element, for the elements that are this thread's. Where there is `b`, a
/// vector of `cols` that all rows have in common, `place` is its value in the element's column, else 0.
template <unsigned INS, unsigned OUTS, class T, class F>
__device__ __forceinline__ void each(const T *const (&in)[INS], T *const (&out)[OUTS], const float *b, unsigned cols,
                                     unsigned n, F f) {
  constexpr unsigned N = Pack<T>::N;
  // n fits 32 bits, and division is dear: one for all that a thread has.
  size_t first = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (first >= n) return;
  unsigned col = b ? unsigned(first) % cols : 0;
  bool aligned = n - first >= N && (!b || cols - col >= N);
#pragma unroll
  for (unsigned i = 0; i < INS; i++) aligned = aligned && reinterpret_cast<uintptr_t>(in[i]) % 16 == 0;
#pragma unroll
  for (unsigned i = 0; i < OUTS; i++) aligned = aligned && reinterpret_cast<uintptr_t>(out[i]) % 16 == 0;
  float x[INS], y[OUTS];
  if (aligned) {
    Pack<T> from[INS], to[OUTS];
#pragma unroll
    for (unsigned i = 0; i < INS; i++) from[i] = load_pack(in[i] + first);
    float shared[N] = {};
    if (b) load_floats(shared, b + col);
#pragma unroll
    for (unsigned e = 0; e < N; e++) {
#pragma unroll
      for (unsigned i = 0; i < INS; i++) x[i] = wide(from[i].x[e]);
      f(shared[e], x, y);
#pragma unroll
      for (unsigned i = 0; i < OUTS; i++) to[i].x[e] = narrow<T>(y[i]);
    }
#pragma unroll
    for (unsigned i = 0; i < OUTS; i++) store_pack(out[i] + first, to[i]);
    return;
  }
#pragma unroll 1
  for (size_t at = first; at < n && at < first + N; at++) {
    for (unsigned i = 0; i < INS; i++) x[i] = wide(in[i][at]);
    f(b ? b[col] : 0.0f, x, y);
    for (unsigned i = 0; i < OUTS; i++) out[i][at] = narrow<T>(y[i]);
    if (++col == cols) col = 0;
  }
}
/// The same without such a vector: f(in, out).
template <unsigned INS, unsigned OUTS, class T, class F>
__device__ __forceinline__ void each(const T *const (&in)[INS], T *const (&out)[OUTS], unsigned n, F f) {
  each<INS, OUTS>(in, out, nullptr, 0, n, [=](float, const float *x, float *y) { f(x, y); });
}

template <class T> __device__ __forceinline__ float gelu_slope(float x) {
  float s = sigmoid<T>(2.0f * SCALE * (x + CUBIC * x * x * x));
  return s + 2.0f * x * s * (1.0f - s) * SCALE * (1.0f + 3.0f * CUBIC * x * x);
}
// Not `max`: NaN must stay NaN.
__device__ __forceinline__ float rectified(float x) { return x < 0 ? 0 : x; }

template <class T> __device__ void add(const T *a, const T *b, T *y, unsigned n) {
  const T *const in[2] = {a, b};
  T *const out[1] = {y};
  each<2, 1>(in, out, n, [](const float *x, float *y) { y[0] = x[0] + x[1]; });
}
template <class T> __device__ void tanh_forward(const T *x, T *y, unsigned n) {
  const T *const in[1] = {x};
  T *const out[1] = {y};
  each<1, 1>(in, out, n, [](const float *x, float *y) { y[0] = tanhf(x[0]); });
}
template <class T> __device__ void tanh_backward(const T *kept, const T *dy, T *dx, unsigned n) {
  const T *const in[2] = {kept, dy};
  T *const out[1] = {dx};
  each<2, 1>(in, out, n, [](const float *x, float *y) { y[0] = x[1] - x[1] * x[0] * x[0]; });
}
template <class T> __device__ void relu_squared_forward(const T *x, T *y, unsigned n) {
  const T *const in[1] = {x};
  T *const out[1] = {y};
  each<1, 1>(in, out, n, [](const float *x, float *y) { y[0] = rectified(x[0]) * rectified(x[0]); });
}
template <class T> __device__ void relu_squared_backward(const T *x, const T *dy, T *dx, unsigned n) {
  const T *const in[2] = {x, dy};
  T *const out[1] = {dx};
  each<2, 1>(in, out, n, [](const float *x, float *y) { y[0] = x[1] * 2.0f * rectified(x[0]); });
}
template <class T> __device__ void sigmoid_product_forward(const T *gate, const T *x, T *y, unsigned n) {
  const T *const in[2] = {gate, x};
  T *const out[1] = {y};
  each<2, 1>(in, out, n, [](const float *x, float *y) { y[0] = sigmoid<T>(x[0]) * x[1]; });
}
template <class T>
__device__ void sigmoid_product_backward(const T *gate, const T *x, const T *dy, T *dgate, T *dx, unsigned n) {
  const T *const in[3] = {gate, x, dy};
  T *const out[2] = {dgate, dx};
  each<3, 2>(in, out, n, [](const float *x, float *y) {
    float s = sigmoid<T>(x[0]);
    y[0] = x[1] * x[2] * s * (1.0f - s);
    y[1] = s * x[2];
  });
}
template <class T> __device__ void silu_product_forward(const T *gate, const T *x, T *y, unsigned n) {
  const T *const in[2] = {gate, x};
  T *const out[1] = {y};
  each<2, 1>(in, out, n, [](const float *x, float *y) { y[0] = silu<T>(x[0]) * x[1]; });
}
template <class T>
__device__ void silu_product_backward(const T *gate, const T *x, const T *dy, T *dgate, T *dx, unsigned n) {
  const T *const in[3] = {gate, x, dy};
  T *const out[2] = {dgate, dx};
  each<3, 2>(in, out, n, [](const float *x, float *y) {
    y[0] = x[1] * x[2] * silu_slope<T>(x[0]);
    y[1] = silu<T>(x[0]) * x[2];
  });
}
/// y = GELU(x + b), b [cols].
template <class T> __device__ void gelu_forward(const T *x, const float *b, T *y, unsigned n, unsigned cols) {
  const T *const in[1] = {x};
  T *const out[1] = {y};
  each<1, 1>(in, out, b, cols, n, [](float b, const float *x, float *y) { y[0] = gelu<T>(x[0] + b); });
}
template <class T>
__device__ void gelu_backward(const T *x, const float *b, const T *dy, T *dx, unsigned n, unsigned cols) {
  const T *const in[2] = {x, dy};
  T *const out[1] = {dx};
  each<2, 1>(in, out, b, cols, n, [](float b, const float *x, float *y) { y[0] = x[1] * gelu_slope<T>(x[0] + b); });
}
/// y = residual + b: what a product is then added to. Either may be missing.
template <class T> __device__ void begin(const T *residual, const float *b, T *y, unsigned n, unsigned cols) {
  T *const out[1] = {y};
  if (residual) {
    const T *const in[1] = {residual};
    each<1, 1>(in, out, b, cols, n, [](float b, const float *x, float *y) { y[0] = x[0] + b; });
  } else {
    const T *const in[1] = {y};
    // y itself is undefined, and is not used.
    each<1, 1>(in, out, b, cols, n, [](float b, const float *, float *y) { y[0] = b; });
  }
}
/// sum += t.
template <class T> __device__ void accumulate(T *sum, const T *t, unsigned n) {
  const T *const in[2] = {sum, t};
  T *const out[1] = {sum};
  each<2, 1>(in, out, n, [](const float *x, float *y) { y[0] = x[0] + x[1]; });
}
/// x *= by.
template <class T> __device__ void scale(T *x, float by, unsigned n) {
  const T *const in[1] = {x};
  T *const out[1] = {x};
  each<1, 1>(in, out, n, [=](const float *x, float *y) { y[0] = x[0] * by; });
}

/// y [rows, size] = columns start.. of x [rows, cols], a thread per word: a word has as many elements as `of_word`
/// says, which divides all of these.
template <class W> __device__ __forceinline__ void take(const W *x, W *y, unsigned rows, unsigned cols,
                                                        unsigned start, unsigned size) {
  unsigned at = blockIdx.x * blockDim.x + threadIdx.x, row = at / size;
  if (row < rows) y[at] = x[size_t(row) * cols + start + (at - row * size)];
}
/// Columns start.. of x [rows, cols] = y [rows, size], or zeros where there is no y.
template <class W> __device__ __forceinline__ void put(const W *y, W *x, unsigned rows, unsigned cols,
                                                       unsigned start, unsigned size) {
  unsigned at = blockIdx.x * blockDim.x + threadIdx.x, row = at / size;
  if (row < rows) x[size_t(row) * cols + start + (at - row * size)] = y ? y[at] : W{};
}
/// f(a, b) on words of 16 bytes, of 8, or on elements.
template <class T, class F> __device__ __forceinline__ void in_words(const T *a, T *b, unsigned of_word, F f) {
  if (of_word * sizeof(T) == 16) f(reinterpret_cast<const uint4 *>(a), reinterpret_cast<uint4 *>(b));
  else if (of_word * sizeof(T) == 8) f(reinterpret_cast<const uint2 *>(a), reinterpret_cast<uint2 *>(b));
  else f(a, b);
}
template <class T>
__device__ void columns_take(const T *x, T *y, unsigned rows, unsigned cols, unsigned start, unsigned size,
                             unsigned of_word) {
  in_words(x, y, of_word,
           [=](auto *x, auto *y) { take(x, y, rows, cols / of_word, start / of_word, size / of_word); });
}
template <class T>
__device__ void columns_put(const T *y, T *x, unsigned rows, unsigned cols, unsigned start, unsigned size,
                            unsigned of_word) {
  in_words(y, x, of_word,
           [=](auto *y, auto *x) { put(y, x, rows, cols / of_word, start / of_word, size / of_word); });
}

/// y[chunk, col] = Σ over the chunk's rows of x[row, col], times weight[row] where there are weights.
/// Grid [cols/32, rows/chunk], 256 threads: 8 rows of 32 columns at a time. 1 KB shared.
template <class T>
__device__ void column_sums(const T *x, const float *weight, float *y, unsigned rows, unsigned cols,
                            unsigned chunk) {
  SHARED(raw);
  float *partial = reinterpret_cast<float *>(raw);
  unsigned lane = threadIdx.x % 32, group = threadIdx.x / 32, col = blockIdx.x * 32 + lane;
  unsigned first = blockIdx.y * chunk, last = min(first + chunk, rows);
  float sum = 0;
  if (col < cols)
    for (unsigned row = first + group; row < last; row += 8)
      sum += wide(x[size_t(row) * cols + col]) * (weight ? weight[row] : 1.0f);
  partial[threadIdx.x] = sum;
  __syncthreads();
  if (group == 0 && col < cols) {
    float total = 0;
    for (unsigned i = 0; i < 8; i++) total += partial[i * 32 + lane];
    y[size_t(blockIdx.y) * cols + col] = total;
  }
}

}  // namespace v5::elementwise

#define V5_INSTANCES(S, T) \
  KERNEL(256, add_##S, (const T *a, const T *b, T *y, unsigned n), v5::elementwise::add(a, b, y, n)) \
  KERNEL(256, tanh_forward_##S, (const T *x, T *y, unsigned n), v5::elementwise::tanh_forward(x, y, n)) \
  KERNEL(256, tanh_backward_##S, \
         (const T *kept, const T *dy, T *dx, unsigned n), \
         v5::elementwise::tanh_backward(kept, dy, dx, n)) \
  KERNEL(256, relu_squared_forward_##S, \
         (const T *x, T *y, unsigned n), \
         v5::elementwise::relu_squared_forward(x, y, n)) \
  KERNEL(256, relu_squared_backward_##S, \
         (const T *x, const T *dy, T *dx, unsigned n), \
         v5::elementwise::relu_squared_backward(x, dy, dx, n)) \
  KERNEL(256, sigmoid_product_forward_##S, \
         (const T *gate, const T *x, T *y, unsigned n), \
         v5::elementwise::sigmoid_product_forward(gate, x, y, n)) \
  KERNEL(256, sigmoid_product_backward_##S, \
         (const T *gate, const T *x, const T *dy, T *dgate, T *dx, unsigned n), \
         v5::elementwise::sigmoid_product_backward(gate, x, dy, dgate, dx, n)) \
  KERNEL(256, silu_product_forward_##S, \
         (const T *gate, const T *x, T *y, unsigned n), \
         v5::elementwise::silu_product_forward(gate, x, y, n)) \
  KERNEL(256, silu_product_backward_##S, \
         (const T *gate, const T *x, const T *dy, T *dgate, T *dx, unsigned n), \
         v5::elementwise::silu_product_backward(gate, x, dy, dgate, dx, n)) \
  KERNEL(256, gelu_forward_##S, \
         (const T *x, const float *b, T *y, unsigned n, unsigned cols), \
         v5::elementwise::gelu_forward(x, b, y, n, cols)) \
  KERNEL(256, gelu_backward_##S, \
         (const T *x, const float *b, const T *dy, T *dx, unsigned n, unsigned cols), \
         v5::elementwise::gelu_backward(x, b, dy, dx, n, cols)) \
  KERNEL(256, begin_##S, \
         (const T *residual, const float *b, T *y, unsigned n, unsigned cols), \
         v5::elementwise::begin(residual, b, y, n, cols)) \
  KERNEL(256, accumulate_##S, (T *sum, const T *t, unsigned n), v5::elementwise::accumulate(sum, t, n)) \
  KERNEL(256, scale_##S, (T *x, float by, unsigned n), v5::elementwise::scale(x, by, n)) \
  KERNEL(256, columns_take_##S, \
         (const T *x, T *y, unsigned rows, unsigned cols, unsigned start, unsigned size, unsigned of_word), \
         v5::elementwise::columns_take(x, y, rows, cols, start, size, of_word)) \
  KERNEL(256, columns_put_##S, \
         (const T *y, T *x, unsigned rows, unsigned cols, unsigned start, unsigned size, unsigned of_word), \
         v5::elementwise::columns_put(y, x, rows, cols, start, size, of_word)) \
  KERNEL(256, column_sums_##S, \
         (const T *x, const float *weight, float *y, unsigned rows, unsigned cols, unsigned chunk), \
         v5::elementwise::column_sums(x, weight, y, rows, cols, chunk))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
