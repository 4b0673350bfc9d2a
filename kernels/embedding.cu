// Rows of a table chosen by token id, and their gradient (`src/ops/embedding.rs`).
//
// The gradient is deterministic: the host sorts positions by id, and one block adds the rows of one id in the order
// of their positions. Grid of `embedding_forward`: [n], of `embedding_backward`: [distinct ids]; 128 threads.
#include "common.cuh"

namespace v5::embedding {

template <class T>
__device__ void forward(const T *table, const unsigned *ids, T *y, unsigned width) {
  const T *from = table + size_t(ids[blockIdx.x]) * width;
  T *to = y + size_t(blockIdx.x) * width;
  constexpr unsigned N = Pack<T>::N;
  if (width % N == 0 && reinterpret_cast<uintptr_t>(table) % 16 == 0) {
    for (unsigned i = threadIdx.x * N; i < width; i += blockDim.x * N) store_pack(to + i, load_pack(from + i));
  } else {
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) to[i] = from[i];
  }
}

/// table[ids[k]] += Σ rows[order[j]], j from starts[k] up to starts[k + 1].
template <class T>
__device__ void backward(float *table, const unsigned *ids, const unsigned *starts, const unsigned *order,
                         const T *rows, unsigned width) {
  float *to = table + size_t(ids[blockIdx.x]) * width;
  unsigned first = starts[blockIdx.x], last = starts[blockIdx.x + 1];
  for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
    float sum = to[i];
    for (unsigned j = first; j < last; j++) sum += wide(rows[size_t(order[j]) * width + i]);
    to[i] = sum;
  }
}

}  // namespace v5::embedding

#define V5_INSTANCES(S, T) \
  KERNEL(128, embedding_forward_##S, (const T *table, const unsigned *ids, T *y, unsigned width), \
         v5::embedding::forward(table, ids, y, width)) \
  KERNEL(128, embedding_backward_##S, \
         (float *table, const unsigned *ids, const unsigned *starts, const unsigned *order, const T *rows, \
          unsigned width), \
         v5::embedding::backward(table, ids, starts, order, rows, width))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
