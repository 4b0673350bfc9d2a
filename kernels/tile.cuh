// Small matrix products by one warp on the tensor cores: 16 x 8 += 16 x 16 · 16 x 8, operands in shared memory.
//
// Who holds what (PTX ISA, mma.m16n8k16), with g = lane / 4 and t = lane % 4:
//   C[0..3]: (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1)
//   A: pairs along k at (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8)
//   B: pairs along k at (2t, g), (2t+8, g)
// float operands are held the same way and multiplied exactly as float32, by shuffles: for conformance, not speed.
//
// Matrices in shared memory are given by the address of their first element and the elements from one row to the
// next, which for bf16 must be a multiple of 8 (rows on 16 bytes); 8 more than a multiple of 64 spreads rows over
// the banks.
#pragma once

#include "common.cuh"

template <class T> struct TileA {
  T x[8];
};
template <class T> struct TileB {
  T x[4];
};

__device__ __forceinline__ unsigned pack_bf16(bf16 low, bf16 high) {
  unsigned y;
  bf16 both[2] = {low, high};
  memcpy(&y, both, 4);
  return y;
}

/// Eight by eight elements per matrix, lane 8i + r giving the address of row r of matrix i. Lane (g, t) gets
/// elements (g, 2t) and (g, 2t+1) of each; TURNED, elements (2t, g) and (2t+1, g).
template <int MATRICES, bool TURNED>
__device__ __forceinline__ void load_matrices(unsigned (&to)[MATRICES], const bf16 *row) {
#ifdef V5_EMULATE
  if (reinterpret_cast<uintptr_t>(row) % 16) emulate::fail("a row of a tile at %p, which is not aligned", row);
  auto rows = emulate::tell(row, emulate::Site::here());
  unsigned g = emulate::lane() / 4, t = emulate::lane() % 4;
  if (emulate::lane() < 8 * MATRICES) emulate::warp_reads(row);
  auto at = [&](unsigned row, unsigned column) { return emulate::peek(rows[row] + column); };
  for (int i = 0; i < MATRICES; i++)
    to[i] = TURNED ? pack_bf16(at(8 * i + 2 * t, g), at(8 * i + 2 * t + 1, g))
                   : pack_bf16(at(8 * i + g, 2 * t), at(8 * i + g, 2 * t + 1));
#else
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (MATRICES == 4 && TURNED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
  else if constexpr (MATRICES == 4)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
  else if constexpr (TURNED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1]) : "r"(address) : "memory");
#endif
}

/// A from rows of k: A[i][k] at from[i·stride + k].
__device__ __forceinline__ void load(TileA<bf16> &a, const bf16 *from, unsigned stride) {
  unsigned lane = threadIdx.x % WARP, r[4];
  load_matrices<4, false>(r, from + (lane % 16) * stride + lane / 16 * 8);
  memcpy(a.x, r, 16);
}
/// A from columns of k: A[i][k] at from[k·stride + i].
__device__ __forceinline__ void load_turned(TileA<bf16> &a, const bf16 *from, unsigned stride) {
  unsigned lane = threadIdx.x % WARP, r[4];
  load_matrices<4, true>(r, from + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
  memcpy(a.x, r, 16);
}
/// B from columns of k: B[k][j] at from[j·stride + k].
__device__ __forceinline__ void load(TileB<bf16> &b, const bf16 *from, unsigned stride) {
  unsigned lane = threadIdx.x % WARP, r[2];
  load_matrices<2, false>(r, from + (lane % 8) * stride + lane / 8 % 2 * 8);
  memcpy(b.x, r, 8);
}
/// B from rows of k: B[k][j] at from[k·stride + j].
__device__ __forceinline__ void load_turned(TileB<bf16> &b, const bf16 *from, unsigned stride) {
  unsigned lane = threadIdx.x % WARP, r[2];
  load_matrices<2, true>(r, from + (lane % 16) * stride);
  memcpy(b.x, r, 8);
}

__device__ __forceinline__ void load(TileA<float> &a, const float *from, unsigned stride) {
  unsigned g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
  for (unsigned i = 0; i < 8; i++) a.x[i] = from[(g + i / 2 % 2 * 8) * stride + 2 * t + i / 4 * 8 + i % 2];
}
__device__ __forceinline__ void load_turned(TileA<float> &a, const float *from, unsigned stride) {
  unsigned g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
  for (unsigned i = 0; i < 8; i++) a.x[i] = from[(2 * t + i / 4 * 8 + i % 2) * stride + g + i / 2 % 2 * 8];
}
__device__ __forceinline__ void load(TileB<float> &b, const float *from, unsigned stride) {
  unsigned g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
  for (unsigned i = 0; i < 4; i++) b.x[i] = from[g * stride + 2 * t + i / 2 * 8 + i % 2];
}
__device__ __forceinline__ void load_turned(TileB<float> &b, const float *from, unsigned stride) {
  unsigned g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
  for (unsigned i = 0; i < 4; i++) b.x[i] = from[(2 * t + i / 2 * 8 + i % 2) * stride + g];
}

#ifdef V5_EMULATE
/// What the hardware does, from everybody's operands.
template <class T> V5_QUIET void multiply(float (&c)[4], const TileA<T> &a, const TileB<T> &b) {
  struct Both {
    TileA<T> a;
    TileB<T> b;
  };
  auto all = emulate::tell(Both{a, b}, emulate::Site::here());
  unsigned g = emulate::lane() / 4, t = emulate::lane() % 4;
  for (unsigned i = 0; i < 4; i++) {
    unsigned down = i / 2, column = 2 * t + i % 2;
    for (unsigned k = 0; k < 16; k++) {
      float x = wide(all[g * 4 + k % 8 / 2].a.x[k / 8 * 4 + down * 2 + k % 2]);
      float y = wide(all[column * 4 + k % 8 / 2].b.x[k / 8 * 2 + k % 2]);
      c[i] = std::fmaf(x, y, c[i]);
    }
  }
}
#else
/// C += A·B.
__device__ __forceinline__ void multiply(float (&c)[4], const TileA<bf16> &a, const TileB<bf16> &b) {
  unsigned p[4], q[2];
  memcpy(p, a.x, 16);
  memcpy(q, b.x, 8);
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "r"(q[0]), "r"(q[1]));
}
__device__ __forceinline__ void multiply(float (&c)[4], const TileA<float> &a, const TileB<float> &b) {
  unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
  for (unsigned k = 0; k < 16; k++) {
    unsigned at = k % 8 / 2;
    float top = __shfl_sync(ALL, a.x[k / 8 * 4 + k % 2], g * 4 + at);
    float low = __shfl_sync(ALL, a.x[k / 8 * 4 + 2 + k % 2], g * 4 + at);
    float left = __shfl_sync(ALL, b.x[k / 8 * 2 + k % 2], 2 * t * 4 + at);
    float right = __shfl_sync(ALL, b.x[k / 8 * 2 + k % 2], (2 * t + 1) * 4 + at);
    c[0] = fmaf(top, left, c[0]);
    c[1] = fmaf(top, right, c[1]);
    c[2] = fmaf(low, left, c[2]);
    c[3] = fmaf(low, right, c[3]);
  }
}
#endif

/// Two neighbouring 16 x 8 results side by side are a 16 x 16 left operand: no way through shared memory.
template <class T>
__device__ __forceinline__ TileA<T> as_left(const float (&left)[4], const float (&right)[4]) {
  TileA<T> a;
  for (int i = 0; i < 4; i++) a.x[i] = narrow<T>(left[i]), a.x[4 + i] = narrow<T>(right[i]);
  return a;
}
