// Kernels with one defect each, which the emulator must show. None of them is built for a GPU.
#include "common.cuh"

namespace v5::planted {

/// Sound: neighbours exchange their elements.
__device__ void exchange(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  unsigned i = threadIdx.x;
  all[i] = i < n ? x[i] : 0;
  __syncthreads();
  if (i < n) y[i] = all[(i + 1) % n];
}
/// The same without waiting for the neighbour.
__device__ void race(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  unsigned i = threadIdx.x;
  all[i] = i < n ? x[i] : 0;
  if (i < n) y[i] = all[(i + 1) % n];
}
/// Half of the threads wait for the others, which have gone.
__device__ void divergent(const float *x, float *y, unsigned n) {
  if (threadIdx.x < n) {
    __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
  }
}
/// A lane leaves before its warp adds up.
__device__ void early(const float *x, float *y, unsigned n) {
  if (threadIdx.x >= n) return;
  y[threadIdx.x] = warp_sum(x[threadIdx.x]);
}
/// One element too many is written.
__device__ void beyond(const float *x, float *y, unsigned n) {
  if (threadIdx.x <= n) y[threadIdx.x] = x[min(threadIdx.x, n - 1)];
}
/// One element too many is read.
__device__ void before(const float *x, float *y, unsigned n) {
  if (threadIdx.x < n) y[threadIdx.x] = x[int(threadIdx.x) - 1] + x[threadIdx.x];
}
/// The last element is left as it was.
__device__ void unwritten(const float *x, float *y, unsigned n) {
  if (threadIdx.x + 1 < n) y[threadIdx.x] = x[threadIdx.x];
}
/// An input is written.
__device__ void careless(float *x, float *y, unsigned n) {
  if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x]++;
}
/// More shared memory than was asked for.
__device__ void greedy(const float *x, float *y, unsigned n) {
  SHARED(raw);
  reinterpret_cast<float *>(raw)[blockDim.x + threadIdx.x] = 1;
  if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x];
}
/// 16 bytes at an address that is no multiple of 16.
__device__ void unaligned(const float *x, float *y, unsigned n) {
  if (threadIdx.x < n) y[threadIdx.x] = load_pack(x + 1).x[0];
}
/// A copy is used before it has arrived.
__device__ void impatient(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  if (threadIdx.x % 4 == 0) copy_async(all + threadIdx.x, x + threadIdx.x, threadIdx.x < n);
  copy_commit();
  __syncthreads();
  if (threadIdx.x < n) y[threadIdx.x] = all[threadIdx.x];
}

}  // namespace v5::planted

#define V5_PLANTED(name) \
  KERNEL(64, planted_##name##_f32, (const float *x, float *y, unsigned n), v5::planted::name(x, y, n))
V5_PLANTED(exchange)
V5_PLANTED(race)
V5_PLANTED(divergent)
V5_PLANTED(early)
V5_PLANTED(beyond)
V5_PLANTED(before)
V5_PLANTED(unwritten)
V5_PLANTED(greedy)
V5_PLANTED(unaligned)
V5_PLANTED(impatient)
KERNEL(64, planted_careless_f32, (float *x, float *y, unsigned n), v5::planted::careless(x, y, n))
#undef V5_PLANTED
