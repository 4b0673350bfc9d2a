// Normalisations over the last dimension, whole or in groups: x̂ = (x − μ)/σ, y = x̂·w + b, σ² the mean square of
// x − μ plus ε, and μ = 0 where not centred (`src/ops/norm.rs`).
//
// With ĝ = dy·w over a group of n columns: dx = (ĝ − x̂·mean(ĝ·x̂) − [centred] mean(ĝ))/σ. dw and db are sums over
// rows: partial sums per chunk of rows here, added up by `column_sums`.
//
// A warp per group of a row: grid [rows·groups/8], 256 threads. `norm_weights`: grid [cols/32, rows/chunk], 256
// threads, 2 KB shared.
#include "norm.cuh"

namespace v5::norm {

template <class T>
__device__ void forward(const T *x, const float *w, const float *b, T *y, unsigned rows, unsigned cols,
                        unsigned groups, unsigned centred, float eps) {
  unsigned task = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, size = cols / groups;
  if (task >= rows * groups) return;
  size_t at = size_t(task / groups) * cols + task % groups * size;
  const T *from = x + at;
  T *to = y + at;
  bool packed = whole(from, size) && whole(to, size);
  Moments m = moments(from, size, packed, centred, eps);
  const float *wg = w + task % groups * size, *bg = b ? b + task % groups * size : nullptr;
  each<T>(size, packed, [&](unsigned i, auto few) {
    float v[few.COUNT], by[few.COUNT], more[few.COUNT] = {};
    load_few(v, from + i);
    load_floats(by, wg + i);
    if (bg) load_floats(more, bg + i);
#pragma unroll
    for (unsigned e = 0; e < few.COUNT; e++) v[e] = (v[e] - m.mean) * m.inverse * by[e] + more[e];
    store_few(to + i, v);
  });
}

/// dx; and every group's mean and 1/σ in `stats` [rows·groups, 2].
template <class T>
__device__ void backward(const T *x, const float *w, const T *dy, T *dx, float *stats, unsigned rows,
                         unsigned cols, unsigned groups, unsigned centred, float eps) {
  unsigned task = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, size = cols / groups;
  if (task >= rows * groups) return;
  size_t at = size_t(task / groups) * cols + task % groups * size;
  const T *from = x + at, *slope = dy + at;
  T *to = dx + at;
  bool packed = whole(from, size) && whole(slope, size) && whole(to, size);
  Moments m = moments(from, size, packed, centred, eps);
  if (threadIdx.x % WARP == 0) stats[2 * task] = m.mean, stats[2 * task + 1] = m.inverse;
  const float *wg = w + task % groups * size;
  float along = 0, shift = 0;
  each<T>(size, packed, [&](unsigned i, auto few) {
    float v[few.COUNT], g[few.COUNT], by[few.COUNT];
    load_few(v, from + i);
    load_few(g, slope + i);
    load_floats(by, wg + i);
#pragma unroll
    for (unsigned e = 0; e < few.COUNT; e++) {
      g[e] *= by[e];
      along += g[e] * (v[e] - m.mean) * m.inverse;
      shift += g[e];
    }
  });
  along = warp_sum(along) / size;
  shift = warp_sum(shift) / size;
  if (!centred) shift = 0;
  each<T>(size, packed, [&](unsigned i, auto few) {
    float v[few.COUNT], g[few.COUNT], by[few.COUNT];
    load_few(v, from + i);
    load_few(g, slope + i);
    load_floats(by, wg + i);
#pragma unroll
    for (unsigned e = 0; e < few.COUNT; e++) {
      float normed = (v[e] - m.mean) * m.inverse;
      v[e] = (g[e] * by[e] - shift - normed * along) * m.inverse;
    }
    store_few(to + i, v);
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
