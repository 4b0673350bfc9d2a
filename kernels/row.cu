// A single row on its way through a layer (`src/ops/row.rs`): what lies between two sums over the whole width, in one
// launch. Every block makes the row that its outputs read, in shared memory and of values rounded as they would be
// between launches; what others need of it the first block writes. N(x) is a norm with weights and, where it is
// centred, a bias; f nothing, GELU or tanh; blocks and products as in `row.cuh`.
//
// | kernel | y | grid | threads | shared |
// |---|---|---|---|---|
// | normed_out_in | f(N(x) W + b), W as [out, in] | [out/8] | 256 | a row |
// | normed_in_out | the same, W as [in, out] | [out/32] | 512 | a row, partial sums |
// | shifted | h = N(x), Δ = tail − h, tanh((h + Δ·μ) W), W as [in, out] | [out/32] | 512 | a row, partial sums |
// | mixed | tanh(x₀ W₀), W₀ as [in, rank], and xᵢ Wᵢ for four others, Wᵢ as [out, in] | [max(rank/32, out/16), 5] | 512 | partial sums |
// | gated | N(x·SiLU(z)) W + b, N in groups of `size`, and x' W' beside it, both as [out, in] | [out/16, 1 or 2] | 512 | two rows |
// | fused | s = x + g·a + (1 − g)·b (`fusion.cu`), f(N(s) W + b), W as [out, in] | [out/8] | 256 | two rows |
//
// A row has in·sizeof(T) bytes, to the next multiple of 16.
#include "fusion.cuh"
#include "gelu.cuh"
#include "norm.cuh"
#include "row.cuh"

namespace v5::row {

/// What is done with x W + b.
enum Then : unsigned { NOTHING, GELU, TANH };

/// Writes outputs of a product. GELU takes the bias itself.
template <class T> __device__ __forceinline__ auto finish(const float *b, unsigned then, T *y) {
  return [=](unsigned out, float sum) {
    float more = b ? b[out] : 0.0f;
    if (then == GELU) sum = elementwise::gelu<T>(wide(narrow<T>(sum)) + more);
    else if (then == TANH) sum = tanhf(wide(narrow<T>(sum + more)));
    else sum += more;
    y[out] = narrow<T>(sum);
  };
}

template <bool OUT_IN, class T>
__device__ void normed(const T *x, const float *nw, const float *nb, const T *w, const float *b, T *y, unsigned inner,
                       unsigned outer, unsigned then, float eps) {
  T *row = start<T>();
  norm::by_block(x, nw, nb, inner, nb != nullptr, eps, [=](unsigned i, T value) { row[i] = value; });
  __syncthreads();
  if constexpr (OUT_IN) out_in(row, w, inner, outer, finish(b, then, y));
  else in_out(row, w, inner, outer, behind<T>(inner), finish(b, then, y));
}

template <class T>
__device__ void shifted(const T *x, const float *nw, const float *nb, const T *tail, const float *mu, const T *w, T *h,
                        T *delta, T *y, unsigned inner, unsigned outer, float eps) {
  T *row = start<T>();
  norm::by_block(x, nw, nb, inner, nb != nullptr, eps, [=](unsigned i, T now) {
    T change = narrow<T>(wide(tail[i]) - wide(now));
    if (blockIdx.x == 0) h[i] = now, delta[i] = change;
    row[i] = narrow<T>(wide(now) + wide(change) * mu[i]);
  });
  __syncthreads();
  in_out(row, w, inner, outer, behind<T>(inner), finish<T>(nullptr, TANH, y));
}

template <class T> struct Part {
  const T *x, *w;
  T *y;
};

template <class T>
__device__ void mixed(Part<T> low, Part<T> first, Part<T> second, Part<T> third, Part<T> fourth, unsigned inner,
                      unsigned outer, unsigned rank) {
  if (blockIdx.y == 0) {
    // No block beyond: a barrier is met by all of a block.
    if (blockIdx.x * COLUMNS < rank) in_out(low.x, low.w, inner, rank, start(), finish(nullptr, TANH, low.y));
    return;
  }
  Part<T> part = blockIdx.y == 1 ? first : blockIdx.y == 2 ? second : blockIdx.y == 3 ? third : fourth;
  out_in(part.x, part.w, inner, outer, finish(nullptr, NOTHING, part.y));
}

template <class T>
__device__ void gated(const T *x, const T *gate, const float *nw, const T *w, const float *b, T *y, unsigned inner,
                      unsigned size, float eps, Part<T> beside, unsigned inner_beside, unsigned outer) {
  if (blockIdx.y == 1)
    return out_in(beside.x, beside.w, inner_beside, outer, finish(nullptr, NOTHING, beside.y));
  T *raw = start<T>(), *row = reinterpret_cast<T *>(behind<T>(inner));
  for (unsigned i = threadIdx.x; i < inner; i += blockDim.x)
    raw[i] = narrow<T>(silu<T>(wide(gate[i])) * wide(x[i]));
  __syncthreads();
  for (unsigned at = 0; at < inner; at += size)
    norm::by_block(raw + at, nw + at, nullptr, size, false, eps, [=](unsigned i, T value) { row[at + i] = value; });
  __syncthreads();
  out_in(row, w, inner, outer, finish(b, NOTHING, y));
}

template <class T>
__device__ void fused(const T *x, const T *first, const T *second, const T *gw, const float *c, const float *nw,
                      const T *w, const float *b, T *sum, T *y, unsigned inner, unsigned outer, unsigned then,
                      float eps) {
  T *raw = start<T>(), *row = reinterpret_cast<T *>(behind<T>(inner));
  float g = fusion::gate(first, second, gw, c, inner);
  for (unsigned i = threadIdx.x; i < inner; i += blockDim.x) {
    raw[i] = narrow<T>(wide(x[i]) + g * wide(first[i]) + (1.0f - g) * wide(second[i]));
    if (blockIdx.x == 0) sum[i] = raw[i];
  }
  __syncthreads();
  norm::by_block(raw, nw, nullptr, inner, false, eps, [=](unsigned i, T value) { row[i] = value; });
  __syncthreads();
  out_in(row, w, inner, outer, finish(b, then, y));
}

}  // namespace v5::row

#define V5_NORMED(THREADS, NAME, OUT_IN, S, T) \
  KERNEL(THREADS, row_normed_##NAME##_##S, \
         (const T *x, const float *nw, const float *nb, const T *w, const float *b, T *y, unsigned inner, \
          unsigned outer, unsigned then, float eps), \
         v5::row::normed<OUT_IN>(x, nw, nb, w, b, y, inner, outer, then, eps))
#define V5_INSTANCES(S, T) \
  V5_NORMED(256, out_in, true, S, T) \
  V5_NORMED(512, in_out, false, S, T) \
  KERNEL(512, row_shifted_##S, \
         (const T *x, const float *nw, const float *nb, const T *tail, const float *mu, const T *w, T *h, T *delta, \
          T *y, unsigned inner, unsigned outer, float eps), \
         v5::row::shifted(x, nw, nb, tail, mu, w, h, delta, y, inner, outer, eps)) \
  KERNEL(512, row_mixed_##S, \
         (const T *x0, const T *w0, T *y0, const T *x1, const T *w1, T *y1, const T *x2, const T *w2, T *y2, \
          const T *x3, const T *w3, T *y3, const T *x4, const T *w4, T *y4, unsigned inner, unsigned outer, \
          unsigned rank), \
         v5::row::mixed<T>({x0, w0, y0}, {x1, w1, y1}, {x2, w2, y2}, {x3, w3, y3}, {x4, w4, y4}, inner, outer, rank)) \
  KERNEL(512, row_gated_##S, \
         (const T *x, const T *gate, const float *nw, const T *w, const float *b, T *y, unsigned inner, \
          unsigned size, float eps, const T *beside, const T *w_beside, T *y_beside, unsigned inner_beside, \
          unsigned outer), \
         v5::row::gated<T>(x, gate, nw, w, b, y, inner, size, eps, {beside, w_beside, y_beside}, inner_beside, \
                           outer)) \
  KERNEL(256, row_fused_##S, \
         (const T *x, const T *first, const T *second, const T *gw, const float *c, const float *nw, const T *w, \
          const float *b, T *sum, T *y, unsigned inner, unsigned outer, unsigned then, float eps), \
         v5::row::fused(x, first, second, gw, c, nw, w, b, sum, y, inner, outer, then, eps))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
#undef V5_NORMED
