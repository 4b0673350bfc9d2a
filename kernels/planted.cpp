// Kernels with one defect each, which the emulator must show. None of them is built for a GPU.
#include "tile.cuh"

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

// What only the detector of races shows, and its sound counterparts.

/// Sound: neighbours within a warp, behind __syncwarp.
__device__ void warp_exchange(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  unsigned i = threadIdx.x;
  all[i] = i < n ? x[i] : 0;
  __syncwarp();
  if (i < n) y[i] = all[i ^ 1];
}
/// A shuffle in its place, which orders nothing.
__device__ void shuffled(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  unsigned i = threadIdx.x;
  all[i] = i < n ? x[i] : 0;
  float sum = warp_sum(1.0f);
  if (i < n) y[i] = all[i ^ 1] + sum - 32;
}
/// Another warp's elements behind __syncwarp alone.
__device__ void other_warp(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  unsigned i = threadIdx.x;
  all[i] = i < n ? x[i] : 0;
  __syncwarp();
  if (i < n) y[i] = all[(i + 1) % n];
}
/// What others still read is overwritten.
__device__ void overwritten(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  unsigned i = threadIdx.x;
  all[i] = i < n ? x[i] : 0;
  __syncthreads();
  if (i < n) y[i] = all[(i + 1) % n];
  all[i] = 0;
}
/// Two threads write the same element.
__device__ void both_write(const float *x, float *y, unsigned n) {
  if (threadIdx.x < n) y[threadIdx.x / 2] = x[threadIdx.x];
}
/// Sound: a copy, its wait, and a barrier.
__device__ void patient(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  if (threadIdx.x % 4 == 0) copy_async(all + threadIdx.x, x + threadIdx.x, threadIdx.x < n);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  if (threadIdx.x < n) y[threadIdx.x] = all[threadIdx.x];
}
/// Waited for by the thread that copies, and by no other.
__device__ void waits_alone(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  if (threadIdx.x % 4 == 0) copy_async(all + threadIdx.x, x + threadIdx.x, threadIdx.x < n);
  copy_commit();
  copy_wait<0>();
  if (threadIdx.x < n) y[threadIdx.x] = all[threadIdx.x];
}
/// A wait for a group that was never ended.
__device__ void uncommitted(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  if (threadIdx.x % 4 == 0) copy_async(all + threadIdx.x, x + threadIdx.x, threadIdx.x < n);
  copy_wait<0>();
  __syncthreads();
  if (threadIdx.x < n) y[threadIdx.x] = all[threadIdx.x];
}
/// Sound: every block has elements of its own.
__device__ void block_each(const float *x, float *y, unsigned n) {
  unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i];
}
/// All blocks write the same elements.
__device__ void block_same(const float *x, float *y, unsigned n) {
  if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x];
}
/// A block reads what another one writes.
__device__ void block_next(const float *x, float *y, unsigned n) {
  unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i];
  __syncthreads();
  if (i < n && y[(i + blockDim.x) % n] < 0) y[i] = 0;
}
/// Shared memory that nobody wrote, though it does not count.
__device__ void uninitialised(const float *x, float *y, unsigned n) {
  SHARED(raw);
  float *all = reinterpret_cast<float *>(raw);
  if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x] + (all[threadIdx.x] > 0 ? 1 : 0);
}
/// Half of a warp waits at one barrier, half at another.
__device__ void two_barriers(const float *x, float *y, unsigned n) {
  if (threadIdx.x % 2)
    __syncthreads();
  else
    __syncthreads();
  if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x];
}
/// Half of a warp adds up, half looks for the largest.
__device__ void two_shuffles(const float *x, float *y, unsigned n) {
  float z = threadIdx.x % 2 ? warp_sum(1.0f) : warp_max(1.0f);
  if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x] + z;
}
/// Sound: a tile of ones, read by the warp that wrote it.
__device__ void tile(const bf16 *x, float *y, unsigned n) {
  SHARED(raw);
  bf16 *all = reinterpret_cast<bf16 *>(raw);
  for (unsigned i = threadIdx.x; i < 128; i += WARP) all[i] = x[0];
  __syncwarp();
  TileB<bf16> b;
  load(b, all, 16);
  for (unsigned i = threadIdx.x; i < n; i += WARP) y[i] = wide(b.x[0]);
}
/// The same without __syncwarp. A lane gets the very elements that it wrote, but the warp reads them together.
__device__ void tile_early(const bf16 *x, float *y, unsigned n) {
  SHARED(raw);
  unsigned *all = reinterpret_cast<unsigned *>(raw);
  unsigned at = threadIdx.x / 4 * 8 + threadIdx.x % 4;
  all[at] = all[at + 4] = pack_bf16(x[0], x[0]);
  TileB<bf16> b;
  load(b, reinterpret_cast<bf16 *>(raw), 16);
  for (unsigned i = threadIdx.x; i < n; i += WARP) y[i] = wide(b.x[0]);
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
V5_PLANTED(warp_exchange)
V5_PLANTED(shuffled)
V5_PLANTED(other_warp)
V5_PLANTED(overwritten)
V5_PLANTED(both_write)
V5_PLANTED(patient)
V5_PLANTED(waits_alone)
V5_PLANTED(uncommitted)
V5_PLANTED(block_each)
V5_PLANTED(block_same)
V5_PLANTED(block_next)
V5_PLANTED(uninitialised)
V5_PLANTED(two_barriers)
V5_PLANTED(two_shuffles)
#undef V5_PLANTED
KERNEL(32, planted_tile_bf16, (const bf16 *x, float *y, unsigned n), v5::planted::tile(x, y, n))
KERNEL(32, planted_tile_early_bf16, (const bf16 *x, float *y, unsigned n), v5::planted::tile_early(x, y, n))
