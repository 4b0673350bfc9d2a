// Normalisations over the last dimension, whole or in groups: x̂ = (x − μ)/σ, y = x̂·w + b, σ² the mean square of
// x − μ plus ε, and μ = 0 where not centred (`src/ops/norm.rs`).
//
// With ĝ = dy·w over a group of n columns: dx = (ĝ − x̂·mean(ĝ·x̂) − [centred] mean(ĝ))/σ. dw and db are sums over
// rows: partial sums per chunk of rows here, added up by `column_sums`.
//
// A warp per group of a row: grid [rows·groups/8], 256 threads. `norm_weights`: grid [cols/32, rows/chunk], 256
// threads, 2 KB shared.
#include "common.cuh"

namespace v5::norm {

struct Moments {
  float mean, inverse;
};

/// f(column, value) of every column of the group that is this lane's.
template <class T, class F>
__device__ __forceinline__ void each(const T *x, unsigned size, F f) {
  constexpr unsigned N = Pack<T>::N;
  unsigned lane = threadIdx.x % WARP;
  if (size % N == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0) {
    for (unsigned i = lane * N; i < size; i += WARP * N) {
      Pack<T> p = load_pack(x + i);
#pragma unroll
      for (unsigned e = 0; e < N; e++) f(i + e, wide(p.x[e]));
    }
  } else {
    for (unsigned i = lane; i < size; i += WARP) f(i, wide(x[i]));
  }
}

template <class T>
__device__ __forceinline__ Moments moments(const T *x, unsigned size, unsigned centred, float eps) {
  float sum = 0;
  if (centred) each(x, size, [&](unsigned, float v) { sum += v; });
  float mean = centred ? warp_sum(sum) / size : 0.0f;
  float square = 0;
  each(x, size, [&](unsigned, float v) { square += (v - mean) * (v - mean); });
  return {mean, 1.0f / sqrtf(warp_sum(square) / size + eps)};
}

template <class T>
__device__ void forward(const T *x, const float *w, const float *b, T *y, unsigned rows, unsigned cols,
                        unsigned groups, unsigned centred, float eps) {
  unsigned task = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, size = cols / groups;
  if (task >= rows * groups) return;
  size_t at = size_t(task / groups) * cols + task % groups * size;
  Moments m = moments(x + at, size, centred, eps);
  const float *wg = w + task % groups * size, *bg = b ? b + task % groups * size : nullptr;
  T *to = y + at;
  each(x + at, size, [&](unsigned i, float v) {
    to[i] = narrow<T>((v - m.mean) * m.inverse * wg[i] + (bg ? bg[i] : 0.0f));
  });
}

/// dx; and every group's mean and 1/σ in `stats` [rows·groups, 2].
template <class T>
__device__ void backward(const T *x, const float *w, const T *dy, T *dx, float *stats, unsigned rows,
                         unsigned cols, unsigned groups, unsigned centred, float eps) {
  unsigned task = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, size = cols / groups;
  if (task >= rows * groups) return;
  size_t at = size_t(task / groups) * cols + task % groups * size;
  Moments m = moments(x + at, size, centred, eps);
  if (threadIdx.x % WARP == 0) stats[2 * task] = m.mean, stats[2 * task + 1] = m.inverse;
  const float *wg = w + task % groups * size;
  const T *from = x + at, *slope = dy + at;
  T *to = dx + at;
  float along = 0, shift = 0;
  each(slope, size, [&](unsigned i, float g) {
    g *= wg[i];
    along += g * (wide(from[i]) - m.mean) * m.inverse;
    shift += g;
  });
  along = warp_sum(along) / size;
  shift = warp_sum(shift) / size;
  if (!centred) shift = 0;
  each(slope, size, [&](unsigned i, float g) {
    float normed = (wide(from[i]) - m.mean) * m.inverse;
    to[i] = narrow<T>((g * wg[i] - shift - normed * along) * m.inverse);
  });
}

/// Partial dw and db of a chunk of rows: [chunks, 2·cols], dw's columns first.
template <class T>
__device__ void weights(const T *x, const T *dy, const float *stats, float *partial, unsigned rows, unsigned cols,
                        unsigned groups, unsigned chunk) {
  SHARED(raw);
  float *dw = reinterpret_cast<float *>(raw), *db = dw + 256;
  unsigned lane = threadIdx.x % 32, team = threadIdx.x / 32, col = blockIdx.x * 32 + lane;
  unsigned first = blockIdx.y * chunk, last = min(first + chunk, rows), size = cols / groups;
  float w = 0, b = 0;
  if (col < cols)
    for (unsigned row = first + team; row < last; row += 8) {
      size_t at = size_t(row) * cols + col;
      const float *s = stats + 2 * (size_t(row) * groups + col / size);
      float g = wide(dy[at]);
      w += g * (wide(x[at]) - s[0]) * s[1];
      b += g;
    }
  dw[threadIdx.x] = w;
  db[threadIdx.x] = b;
  __syncthreads();
  if (team == 0 && col < cols) {
    w = 0, b = 0;
    for (unsigned i = 0; i < 8; i++) w += dw[i * 32 + lane], b += db[i * 32 + lane];
    partial[size_t(blockIdx.y) * 2 * cols + col] = w;
    partial[size_t(blockIdx.y) * 2 * cols + cols + col] = b;
  }
}

}  // namespace v5::norm

#define V5_INSTANCES(S, T) \
  KERNEL(256, norm_forward_##S, \
         (const T *x, const float *w, const float *b, T *y, unsigned rows, unsigned cols, unsigned groups, \
          unsigned centred, float eps), \
         v5::norm::forward(x, w, b, y, rows, cols, groups, centred, eps)) \
  KERNEL(256, norm_backward_##S, \
         (const T *x, const float *w, const T *dy, T *dx, float *stats, unsigned rows, unsigned cols, \
          unsigned groups, unsigned centred, float eps), \
         v5::norm::backward(x, w, dy, dx, stats, rows, cols, groups, centred, eps)) \
  KERNEL(256, norm_weights_##S, \
         (const T *x, const T *dy, const float *stats, float *partial, unsigned rows, unsigned cols, \
          unsigned groups, unsigned chunk), \
         v5::norm::weights(x, dy, stats, partial, rows, cols, groups, chunk))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
