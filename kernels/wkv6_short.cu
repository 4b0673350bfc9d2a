// The backward pass of RWKV-6's recurrence in chunks of two pieces instead of four, for cards whose blocks have not the
// shared memory: wkv6_gradient_64 asks for 112 KiB, wkv6_gradient_short_64 for 53.
#define V5_WKV6 wkv6_short
#define V5_WKV6_PIECES(N) 2
#include "wkv6.cuh"

#define BOUNDS(blocks) __launch_bounds__(v5::wkv6_short::THREADS<64>, v5::wkv6_short::BLOCKS<bf16, 64, blocks>)
extern "C" __global__ void BOUNDS(3)
wkv6_chunk_both_short_64_bf16(const bf16 *r, const bf16 *k, const bf16 *v, const bf16 *raw, const bf16 *dy,
                              float *states, float *gradients, float *decay, unsigned time, unsigned n) {
  v5::wkv6_short::chunk<bf16, 64, true>(r, k, v, raw, dy, states, gradients, decay, time, n);
}
EXPORT(wkv6_chunk_both_short_64_bf16)
extern "C" __global__ void BOUNDS(3)
wkv6_dv_short_64_bf16(const bf16 *r, const bf16 *k, const bf16 *dy, const bf16 *raw, const float *u,
                      const float *gradients, bf16 *dv, unsigned time, unsigned n) {
  v5::wkv6_short::respond<bf16, 64, true>(r, k, dy, raw, u, gradients, dv, time, n);
}
EXPORT(wkv6_dv_short_64_bf16)
extern "C" __global__ void BOUNDS(2)
wkv6_gradient_short_64_bf16(const bf16 *r, const bf16 *k, const bf16 *v, const bf16 *raw, const float *u,
                            const bf16 *dy, const float *states, const float *gradients, bf16 *dr, bf16 *dk,
                            bf16 *draw, float *du, unsigned time, unsigned n) {
  v5::wkv6_short::gradient<bf16, 64>(r, k, v, raw, u, dy, states, gradients, dr, dk, draw, du, time, n);
}
EXPORT(wkv6_gradient_short_64_bf16)

#undef BOUNDS
#undef V5_WKV6
#undef V5_WKV6_PIECES
