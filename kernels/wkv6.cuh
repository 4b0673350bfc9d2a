// RWKV-6's recurrence (Peng et al. 2024, eqs. 16–19). For a head of size n, at step t:
//
//   y_t[j] = Σᵢ r_t[i]·(S[i,j] + u[i]·k_t[i]·v_t[j]),   S[i,j] ← w_t[i]·S[i,j] + k_t[i]·v_t[j]
//   w = exp(−exp(ω)): the decay of every key channel i at every step
//
// In pieces of SUB = 16 steps the recurrence is matrix products (Yang et al. 2024, §4). Within a piece let
// f_t = Π w_m over m < t, g_s = Π w_m over m > s, E = Π w_m over all of it, r̂ = f∘r, k̂ = g∘k. Then
//
//   y_t = Sᵀr̂_t + Σ_{s≤t} A[t,s]·v_s,  S ← E∘S + k̂ᵀv,  A[t,s] = Σᵢ r_t[i]·k_s[i]·Π_{s<m<t} w_m[i],
//   A[t,t] = Σᵢ r_t[i]·u[i]·k_t[i],
//
// where each decay is a product of factors in [0, 1]: nothing is divided and nothing overflows, whatever ω is.
// With D for the gradient of the state after the piece (D ← E∘D + r̂ᵀdy before it) and P[t,s] = dy_t·v_s:
//
//   dr_t = f_t∘(S·dy_t) + Σ_{s<t} P[t,s]·k_s∘Π_{s<m<t} w_m + P[t,t]·u∘k_t
//   dk_s = g_s∘(D·v_s)  + Σ_{t>s} P[t,s]·r_t∘Π_{s<m<t} w_m + P[s,s]·u∘r_s
//   dv_s = Dᵀk̂_s + Σ_{t≥s} A[t,s]·dy_t,   du = Σ_t P[t,t]·r_t∘k_t
//
// d ln w_m sums what passes from before m to after it. Of dr and dk above call the first terms far, the second
// near, and near without s = t−1 (which passes no decay) inner:
//
//   d ln w_m = Σ_j E∘S∘D + Σ_{t>m} r_t∘far dr_t + Σ_{s<m} k_s∘far dk_s
//              + Σ_{t>m} r_t∘inner dr_t − Σ_{s≥m} k_s∘inner dk_s,   dω = −exp(ω)·d ln w
//
// (t, s in the piece.) Only the inner terms cancel, and they come from the same P in float32; a difference of
// whole r∘dr and k∘dk would leave bf16's rounding of the largest terms. Where w rounds to 0, dω is 0·d ln w.
//
// Pieces make a chunk (4, or 2 at N = 128), chunks run in parallel:
//
//   wkv6_chunk       what a chunk adds to the state, and its decay; wkv6_chunk_both: the same for D as well
//   wkv6_scan        the states at the start of every chunk, in place; wkv6_scan_both: and D at every end
//   wkv6_output      y, wkv6_dv: dv, wkv6_gradient: dr, dk, dω and each chunk's share of du
//   wkv6_step        step by step from the state to the last state, for a few steps
//   wkv6_head        a single step with what lies around it in a head: ω = a W + b, a of low rank, before it; group norm
//                    and the product with SiLU(g) behind it (`src/ops/wkv6_head.rs`)
//
// N is n padded with zeros: 16, 32, 64 or 128. Names end in N and the type: wkv6_output_64_bf16; the scans in
// _f32 alone. All but the last two have grid (chunks, heads, batch), THREADS = N·pieces threads and
// steps = 16·pieces per chunk; C = batch·heads·chunks, numbered in that order. With e the bytes of T:
//
//   kernel          shared bytes
//   wkv6_chunk      2·steps·(N+8)·e + 4·pieces·N
//   wkv6_chunk_both 4·steps·(N+8)·e + 4·pieces·N
//   wkv6_output, dv 5·steps·(N+8)·e + steps·24·e + 4·steps·(N+4) + 4·pieces·N
//   wkv6_gradient   6·steps·(N+8)·e + 80·steps + 4·steps·(N+4) + 12·pieces·N
//                   + N/16·(1344 + (pieces−1)·(64 + max(1280, 16·N·e)))
//   wkv6_scan       grid (N²/256, heads, batch), 256 threads; wkv6_scan_both: the same, 2·batch
//   wkv6_step       grid (heads, batch), 256 threads, 16·N + 1024 bytes; wkv6_head: the same, one sequence
//
// Layouts: r, k, v, ω, y and their gradients T [batch·time, heads·n]; u [heads, n]; state [batch, heads, n, n],
// key channel first; states [C, N, N], decays [C, N], shares of du [batch, chunks, heads, n], all float.
//
// Who includes this says what its namespace V5_WKV6 is called, and into how many pieces V5_WKV6_PIECES cuts a chunk.
#include "norm.cuh"
#include "tile.cuh"

namespace v5 {
namespace V5_WKV6 {

constexpr unsigned SUB = 16;
template <unsigned N> constexpr unsigned PIECES = V5_WKV6_PIECES(N);
template <unsigned N> constexpr unsigned STEPS = SUB * PIECES<N>;
template <unsigned N> constexpr unsigned THREADS = N * PIECES<N>;
/// Elements from row to row of a tile of T in shared memory, and of one of floats that no tile product reads.
template <unsigned N> constexpr unsigned STRIDE = N + 8;
template <unsigned N> constexpr unsigned FLOATS = N + 4;
/// From row to row of A, 16 wide, and of P.
constexpr unsigned SCORES = 24, PAIRS = 20;
/// Blocks that should share a multiprocessor, given how many of 256 threads; for bf16 and the usual sizes.
template <class T, unsigned N, unsigned OF_256>
constexpr unsigned BLOCKS = sizeof(T) == 4 || N == 128 ? 1 : OF_256 * 256 / THREADS<N>;

/// Where a block's chunk lies.
struct Chunk {
  size_t first;   // the first step's first channel, in elements
  size_t number;  // among all chunks
  unsigned width, steps;
};
template <unsigned N> __device__ __forceinline__ Chunk chunk_of(unsigned time, unsigned n) {
  unsigned start = blockIdx.x * STEPS<N>;
  Chunk c;
  c.width = gridDim.y * n;
  c.first = (size_t(blockIdx.z) * time + start) * c.width + blockIdx.y * n;
  c.number = (size_t(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  c.steps = min(time - start, STEPS<N>);
  return c;
}

/// The chunk's rows into shared memory, zeros beyond; ends no group of copies.
template <class T, unsigned N>
__device__ __forceinline__ void load_tile(T *to, const T *from, const Chunk &c, unsigned n) {
  constexpr unsigned PIECE = Pack<T>::N;
  if (n % PIECE == 0) {
#pragma unroll
    for (unsigned turn = 0; turn < SUB / PIECE; turn++) {
      unsigned x = turn * THREADS<N> + threadIdx.x, row = x / (N / PIECE), i = x % (N / PIECE) * PIECE;
      bool valid = row < c.steps && i < n;
      copy_async(to + row * STRIDE<N> + i, valid ? from + c.first + size_t(row) * c.width + i : from, valid);
    }
  } else {
    for (unsigned x = threadIdx.x; x < STEPS<N> * N; x += THREADS<N>) {
      unsigned row = x / N, i = x % N;
      bool valid = row < c.steps && i < n;
      to[row * STRIDE<N> + i] = valid ? from[c.first + size_t(row) * c.width + i] : narrow<T>(0.0f);
    }
  }
}
template <class T, unsigned N>
__device__ __forceinline__ void store_tile(T *to, const T *from, const Chunk &c, unsigned n) {
  constexpr unsigned PIECE = Pack<T>::N;
  if (n % PIECE == 0) {
#pragma unroll
    for (unsigned turn = 0; turn < SUB / PIECE; turn++) {
      unsigned x = turn * THREADS<N> + threadIdx.x, row = x / (N / PIECE), i = x % (N / PIECE) * PIECE;
      const uint4 *some = reinterpret_cast<const uint4 *>(from + row * STRIDE<N> + i);
      uint4 *at = reinterpret_cast<uint4 *>(to + c.first + size_t(row) * c.width + i);
      // Left to itself the compiler writes four times four bytes.
      if (row < c.steps && i < n) __stcg(at, *some);
    }
  } else {
    for (unsigned x = threadIdx.x; x < STEPS<N> * N; x += THREADS<N>) {
      unsigned row = x / N, i = x % N;
      if (row < c.steps && i < n) to[c.first + size_t(row) * c.width + i] = from[row * STRIDE<N> + i];
    }
  }
}

/// A thread's column: channel threadIdx.x % N of piece threadIdx.x / N. Zeros beyond the end, though something
/// is read for them too: a branch would have every read wait for the one before.
template <class T, unsigned N>
__device__ __forceinline__ void load_column(T (&x)[SUB], const T *from, const Chunk &c, unsigned n) {
  unsigned i = threadIdx.x % N, start = threadIdx.x / N * SUB;
  const T *at = from + c.first + min(i, n - 1);
#pragma unroll
  for (unsigned s = 0; s < SUB; s++) x[s] = at[size_t(min(start + s, c.steps - 1)) * c.width];
#pragma unroll
  for (unsigned s = 0; s < SUB; s++) x[s] = i < n && start + s < c.steps ? x[s] : narrow<T>(0.0f);
}

/// float32 is for exactness, bf16 for speed.
template <class T> __device__ __forceinline__ float exponential(float x) {
  if constexpr (sizeof(T) == 4) return expf(x);
  else return __expf(x);
}

/// The decays of a thread's column from its ω, 1 beyond the end of the sequence; returns their product, by way
/// of their logarithms: rounding them alike over thousands of steps would add up.
template <class T, unsigned N>
__device__ __forceinline__ float decays(float (&w)[SUB], const T (&raw)[SUB], const Chunk &c) {
  unsigned start = threadIdx.x / N * SUB;
  float sum = 0;
#pragma unroll
  for (unsigned s = 0; s < SUB; s++) {
    float rate = start + s < c.steps ? exponential<T>(wide(raw[s])) : 0.0f;
    w[s] = exponential<T>(-rate);
    sum += rate;
  }
  return exponential<T>(-sum);
}
/// r̂ of a thread's column, from r; in place where both are the same.
template <class T, unsigned N>
__device__ __forceinline__ void decay_read(T *to, const T *r, const float (&w)[SUB]) {
  unsigned at = threadIdx.x / N * SUB * STRIDE<N> + threadIdx.x % N;
  float f = 1;
#pragma unroll
  for (unsigned s = 0; s < SUB; s++, at += STRIDE<N>) to[at] = narrow<T>(wide(r[at]) * f), f *= w[s];
}
/// k̂ of a thread's column.
template <class T, unsigned N>
__device__ __forceinline__ void decay_written(T *to, const T *k, const float (&w)[SUB]) {
  unsigned at = (threadIdx.x / N * SUB + SUB) * STRIDE<N> + threadIdx.x % N;
  float g = 1;
#pragma unroll
  for (unsigned s = SUB; s-- > 0;) at -= STRIDE<N>, to[at] = narrow<T>(wide(k[at]) * g), g *= w[s];
}

// A warp holds a band of the state: 16 rows, all N columns, as N/8 results of tile products side by side. Rows
// are key channels and columns values (KEYS), or the other way round.

template <unsigned N, bool KEYS>
__device__ __forceinline__ void load_band(float (&m)[N / 8][4], const float *from, unsigned band) {
  from += (16 * band + threadIdx.x % WARP / 4) * (KEYS ? N : 1) + threadIdx.x % 4 * 2 * (KEYS ? 1 : N);
#pragma unroll
  for (unsigned x = 0; x < N / 8; x++)
#pragma unroll
    for (unsigned e = 0; e < 4; e++) {
      unsigned row = e / 2 * 8, column = 8 * x + e % 2;
      m[x][e] = from[KEYS ? row * N + column : column * N + row];
    }
}
template <unsigned N>
__device__ __forceinline__ void store_band(float *to, const float (&m)[N / 8][4], unsigned band) {
  to += (16 * band + threadIdx.x % WARP / 4) * N + threadIdx.x % 4 * 2;
#pragma unroll
  for (unsigned x = 0; x < N / 8; x++)
#pragma unroll
    for (unsigned e = 0; e < 4; e++) to[e / 2 * 8 * N + 8 * x + e % 2] = m[x][e];
}
template <unsigned N> __device__ __forceinline__ void clear_band(float (&m)[N / 8][4]) {
#pragma unroll
  for (unsigned x = 0; x < N / 8; x++)
#pragma unroll
    for (unsigned e = 0; e < 4; e++) m[x][e] = 0;
}

/// m ← decay∘m + Pᵀ·q over 16 steps, p holding the band of Pᵀ; `decay` of the piece's key channels.
template <class T, unsigned N, bool KEYS>
__device__ __forceinline__ void advance(float (&m)[N / 8][4], const TileA<T> &p, const T *q, const float *decay,
                                        unsigned band) {
  unsigned g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll
  for (unsigned x = 0; x < N / 8; x++) {
#pragma unroll
    for (unsigned e = 0; e < 4; e++) m[x][e] *= decay[KEYS ? 16 * band + g + e / 2 * 8 : 8 * x + 2 * t + e % 2];
    TileB<T> b;
    load_turned(b, q + 8 * x, STRIDE<N>);
    multiply(m[x], p, b);
  }
}

/// o += m·xᵀ: the band times 16 steps' vectors; a step is a column of o.
template <class T, unsigned N>
__device__ __forceinline__ void apply(float (&o)[2][4], const float (&m)[N / 8][4], const T *x) {
#pragma unroll
  for (unsigned k = 0; k < N / 16; k++) {
    TileA<T> a = as_left<T>(m[2 * k], m[2 * k + 1]);
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
      TileB<T> b;
      load(b, x + 8 * half * STRIDE<N> + 16 * k, STRIDE<N>);
      multiply(o[half], a, b);
    }
  }
}

/// What a chunk adds to the state (`states`), and with BOTH to the gradient of the state before it
/// (`gradients`); its decay.
template <class T, unsigned N, bool BOTH>
__device__ __forceinline__ void chunk(const T *r, const T *k, const T *v, const T *raw, const T *dy,
                                      float *states, float *gradients, float *decay, unsigned time, unsigned n) {
  SHARED(shared);
  constexpr unsigned TILE = STEPS<N> * STRIDE<N>;
  T *written = reinterpret_cast<T *>(shared), *vs = written + TILE;
  T *read = vs + TILE, *dys = read + TILE;
  float *total = reinterpret_cast<float *>(vs + (BOTH ? 3 : 1) * TILE);
  Chunk c = chunk_of<N>(time, n);
  unsigned i = threadIdx.x % N, piece = threadIdx.x / N;

  load_tile<T, N>(written, k, c, n);
  if constexpr (BOTH) load_tile<T, N>(read, r, c, n);
  copy_commit();
  load_tile<T, N>(vs, v, c, n);
  if constexpr (BOTH) load_tile<T, N>(dys, dy, c, n);
  copy_commit();
  T raws[SUB];
  float w[SUB];
  load_column<T, N>(raws, raw, c, n);
  total[piece * N + i] = decays<T, N>(w, raws, c);
  copy_wait<1>();
  __syncthreads();
  decay_written<T, N>(written, written, w);
  if constexpr (BOTH) decay_read<T, N>(read, read, w);
  copy_wait<0>();
  __syncthreads();

  if (piece == 0) {
    float all = 1;
    for (unsigned q = 0; q < PIECES<N>; q++) all *= total[q * N + i];
    decay[c.number * N + i] = all;
  }
  constexpr unsigned BANDS = N / 16;
  for (unsigned job = threadIdx.x / WARP; job < (BOTH ? 2 : 1) * BANDS; job += THREADS<N> / WARP) {
    unsigned band = job % BANDS;
    bool back = BOTH && job >= BANDS;
    float m[N / 8][4];
    clear_band<N>(m);
    for (unsigned x = 0; x < PIECES<N>; x++) {
      unsigned q = back ? PIECES<N> - 1 - x : x, from = q * SUB * STRIDE<N>;
      TileA<T> p;
      load_turned(p, (back ? read : written) + from + 16 * band, STRIDE<N>);
      advance<T, N, true>(m, p, (back ? dys : vs) + from, total + q * N, band);
    }
    store_band<N>((back ? gradients : states) + c.number * N * N, m, band);
  }
}

/// One element of the padded state over the chunks: what they add becomes what they start from, and the last
/// state is returned. BACK: from the last chunk to the first. A state has `size` elements, a chunk's decays `width`.
template <bool BACK>
__device__ __forceinline__ float scan(float state, float *states, const float *decay, unsigned chunks,
                                      unsigned size, unsigned width) {
  constexpr unsigned AHEAD = 8;
  for (unsigned start = 0; start < chunks; start += AHEAD) {
    float more[AHEAD], w[AHEAD];
#pragma unroll
    for (unsigned x = 0; x < AHEAD; x++) {
      size_t c = min(start + x, chunks - 1);
      if (BACK) c = chunks - 1 - c;
      more[x] = states[c * size], w[x] = decay[c * width];
    }
#pragma unroll
    for (unsigned x = 0; x < AHEAD; x++)
      if (start + x < chunks) {
        size_t c = BACK ? chunks - 1 - start - x : start + x;
        states[c * size] = state;
        state = fmaf(w[x], state, more[x]);
      }
  }
  return state;
}

/// Four neighbours at once, on 4·sizeof(T) bytes.
template <class T> struct alignas(4 * sizeof(T)) Four {
  T x[4];
};
template <class T> __device__ __forceinline__ Four<T> four(const T *from) {
  return *reinterpret_cast<const Four<T> *>(from);
}

/// A[t,s] of the pieces' own steps: row t of the chunk, column s of its piece; zeros where s > t. A thread takes
/// one s and 16 channels, and walks through t with the key as decayed so far.
template <class T, unsigned N>
__device__ __forceinline__ void score(T *scores, const T *r, const T *k, const float *w, const float *u,
                                      unsigned n) {
  constexpr unsigned LANES = N / 16, LIVE = WARP / LANES < SUB ? WARP / LANES : SUB;
  unsigned row = threadIdx.x / LANES, lane = threadIdx.x % LANES, piece = row / SUB, s = row % SUB;
  // Channels in fours, those of neighbouring lanes side by side.
  float p[16], own = 0;
#pragma unroll
  for (unsigned x = 0; x < 16; x += 4) {
    unsigned i = 4 * lane + LANES * x;
    Four<T> key = four(k + row * STRIDE<N> + i), query = four(r + row * STRIDE<N> + i);
#pragma unroll
    for (unsigned e = 0; e < 4; e++) {
      p[x + e] = wide(key.x[e]);
      float bonus = u[min(i + e, n - 1)];
      own = i + e < n ? fmaf(p[x + e] * bonus, wide(query.x[e]), own) : own;
    }
  }
#pragma unroll
  for (unsigned mask = LANES / 2; mask > 0; mask /= 2) own += __shfl_xor_sync(ALL, own, mask);
  T *to = scores + piece * SUB * SCORES + s;
  if (lane == 0) {
    for (unsigned t = 0; t < s; t++) to[t * SCORES] = narrow<T>(0.0f);
    to[s * SCORES] = narrow<T>(own);
  }
  // The same first t for the warp.
  for (unsigned t = s / LIVE * LIVE + 1; t < SUB; t++) {
    float sum = 0;
    if (t > s) {
      const T *rt = r + (piece * SUB + t) * STRIDE<N>;
      const float *wt = w + (piece * SUB + t) * FLOATS<N>;
#pragma unroll
      for (unsigned x = 0; x < 16; x += 4) {
        Four<T> query = four(rt + 4 * lane + LANES * x);
        Four<float> decay = four(wt + 4 * lane + LANES * x);
#pragma unroll
        for (unsigned e = 0; e < 4; e++) {
          sum = fmaf(wide(query.x[e]), p[x + e], sum);
          p[x + e] *= decay.x[e];
        }
      }
    }
#pragma unroll
    for (unsigned mask = LANES / 2; mask > 0; mask /= 2) sum += __shfl_xor_sync(ALL, sum, mask);
    if (lane == 0 && t > s) to[t * SCORES] = narrow<T>(sum);
  }
}

/// y from the states at the chunks' starts and values v; or BACK: dv from the gradients of the states at their
/// ends and values dy.
template <class T, unsigned N, bool BACK>
__device__ __forceinline__ void respond(const T *r, const T *k, const T *values, const T *raw, const float *u,
                                        const float *states, T *out, unsigned time, unsigned n) {
  SHARED(shared);
  constexpr unsigned TILE = STEPS<N> * STRIDE<N>;
  T *read = reinterpret_cast<T *>(shared), *written = read + TILE, *vs = written + TILE;
  T *rs = vs + TILE, *ks = rs + TILE, *scores = ks + TILE;
  float *ws = reinterpret_cast<float *>(scores + STEPS<N> * SCORES), *total = ws + STEPS<N> * FLOATS<N>;
  Chunk c = chunk_of<N>(time, n);
  unsigned i = threadIdx.x % N, piece = threadIdx.x / N;

  load_tile<T, N>(rs, r, c, n);
  load_tile<T, N>(ks, k, c, n);
  copy_commit();
  load_tile<T, N>(vs, values, c, n);
  copy_commit();
  {
    T raws[SUB];
    float w[SUB];
    load_column<T, N>(raws, raw, c, n);
    total[piece * N + i] = decays<T, N>(w, raws, c);
#pragma unroll
    for (unsigned s = 0; s < SUB; s++) ws[(piece * SUB + s) * FLOATS<N> + i] = w[s];
    copy_wait<1>();
    __syncthreads();
    decay_read<T, N>(read, rs, w);
    decay_written<T, N>(written, ks, w);
  }
  score<T, N>(scores, rs, ks, ws, u + blockIdx.y * n, n);
  copy_wait<0>();
  __syncthreads();

  T *stage = rs;  // r itself is used no more
  unsigned band = threadIdx.x / WARP, g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
  if (band < N / 16) {
    float m[N / 8][4];
    load_band<N, false>(m, states + c.number * N * N, band);
    for (unsigned x = 0; x < PIECES<N>; x++) {
      unsigned q = BACK ? PIECES<N> - 1 - x : x, from = q * SUB * STRIDE<N>;
      float o[2][4] = {};
      apply<T, N>(o, m, (BACK ? written : read) + from);
      TileA<T> p;
      load_turned(p, vs + from + 16 * band, STRIDE<N>);
#pragma unroll
      for (unsigned half = 0; half < 2; half++) {
        TileB<T> b;
        if constexpr (BACK) load_turned(b, scores + q * SUB * SCORES + 8 * half, SCORES);
        else load(b, scores + (q * SUB + 8 * half) * SCORES, SCORES);
        multiply(o[half], p, b);
#pragma unroll
        for (unsigned e = 0; e < 4; e++) {
          unsigned row = 8 * half + 2 * t + e % 2, column = 16 * band + g + e / 2 * 8;
          stage[from + row * STRIDE<N> + column] = narrow<T>(o[half][e]);
        }
      }
      if (x + 1 < PIECES<N>) advance<T, N, false>(m, p, (BACK ? read : written) + from, total + q * N, band);
    }
  }
  __syncthreads();
  store_tile<T, N>(out, stage, c, n);
}

/// A warp's results for one piece, [step][channel]: elements from step to step, and bytes of it all, such that
/// neighbouring bands lie half the banks apart.
constexpr unsigned PART_STRIDE = 20, PART = SUB * PART_STRIDE * 4 + 64;
/// Bytes of a band of S as it was when dr was computed, in whose place dk's part comes.
template <class T, unsigned N>
constexpr unsigned KEPT = 64 + (16 * N * sizeof(T) > 1280 ? 16 * N * sizeof(T) : 1280);

template <class T, unsigned N>
__device__ __forceinline__ void gradient(const T *r, const T *k, const T *v, const T *raw, const float *u,
                                         const T *dy, const float *states, const float *gradients, T *dr, T *dk,
                                         T *draw, float *du, unsigned time, unsigned n) {
  SHARED(shared);
  constexpr unsigned TILE = STEPS<N> * STRIDE<N>, BANDS = N / 16, WARPS = THREADS<N> / WARP;
  T *read = reinterpret_cast<T *>(shared), *written = read + TILE, *vs = written + TILE, *dys = vs + TILE;
  T *rs = dys + TILE, *ks = rs + TILE;
  float *pairs = reinterpret_cast<float *>(ks + TILE);     // P of every piece; P[t,s] at [t][s] and at [s][t]
  float *far_dr = pairs + STEPS<N> * PAIRS;                // S·dy, [step][channel]
  float *total = far_dr + STEPS<N> * FLOATS<N>;            // E
  float *passing = total + PIECES<N> * N;                  // Σ E∘S∘D
  float *shares = passing + PIECES<N> * N;
  unsigned char *kept = reinterpret_cast<unsigned char *>(shares + PIECES<N> * N);
  // Where a band's part of a piece is kept: the first piece's S need not be, it is in `states`.
  auto part = [&](unsigned q, unsigned band) {
    return q == 0 ? kept + band * PART : kept + BANDS * PART + ((q - 1) * BANDS + band) * KEPT<T, N>;
  };
  Chunk c = chunk_of<N>(time, n);
  unsigned i = threadIdx.x % N, piece = threadIdx.x / N, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  unsigned g = lane / 4, t4 = lane % 4;

  load_tile<T, N>(rs, r, c, n);
  load_tile<T, N>(ks, k, c, n);
  copy_commit();
  load_tile<T, N>(vs, v, c, n);
  load_tile<T, N>(dys, dy, c, n);
  copy_commit();
  {
    T raws[SUB];
    float w[SUB];
    load_column<T, N>(raws, raw, c, n);
    total[piece * N + i] = decays<T, N>(w, raws, c);
    copy_wait<1>();
    __syncthreads();
    decay_read<T, N>(read, rs, w);
    decay_written<T, N>(written, ks, w);
  }
  copy_wait<0>();
  __syncthreads();

  // P, by the warps that have no band, where there are any.
  constexpr unsigned SPARE = WARPS > BANDS ? WARPS - BANDS : WARPS;
  for (unsigned job = warp - (WARPS - SPARE); job < 2 * PIECES<N>; job += SPARE) {
    unsigned q = job / 2, half = job % 2;
    float p[4] = {};
#pragma unroll
    for (unsigned x = 0; x < N / 16; x++) {
      TileA<T> a;
      TileB<T> b;
      load(a, dys + q * SUB * STRIDE<N> + 16 * x, STRIDE<N>);
      load(b, vs + (q * SUB + 8 * half) * STRIDE<N> + 16 * x, STRIDE<N>);
      multiply(p, a, b);
    }
#pragma unroll
    for (unsigned e = 0; e < 4; e++) {
      unsigned t = g + e / 2 * 8, s = 8 * half + 2 * t4 + e % 2;
      if (s <= t) {
        pairs[(q * SUB + t) * PAIRS + s] = p[e];
        if (s < t) pairs[(q * SUB + s) * PAIRS + t] = p[e];
      }
    }
  }

  if (warp < BANDS) {
    unsigned band = warp;
    float m[N / 8][4];
    load_band<N, true>(m, states + c.number * N * N, band);
    for (unsigned q = 0; q < PIECES<N>; q++) {
      unsigned from = q * SUB * STRIDE<N>;
      if (q > 0) {
        T *to = reinterpret_cast<T *>(part(q, band));
#pragma unroll
        for (unsigned x = 0; x < N / 8; x += Pack<T>::N / 4) {
          Pack<T> some;
#pragma unroll
          for (unsigned e = 0; e < Pack<T>::N; e++) some.x[e] = narrow<T>(m[x + e / 4][e % 4]);
          store_pack(to + (x / (Pack<T>::N / 4) * WARP + lane) * Pack<T>::N, some);
        }
      }
      float o[2][4] = {};
      apply<T, N>(o, m, dys + from);
#pragma unroll
      for (unsigned half = 0; half < 2; half++)
#pragma unroll
        for (unsigned e = 0; e < 4; e++)
          far_dr[(q * SUB + 8 * half + 2 * t4 + e % 2) * FLOATS<N> + 16 * band + g + e / 2 * 8] = o[half][e];
      if (q + 1 < PIECES<N>) {
        TileA<T> p;
        load_turned(p, written + from + 16 * band, STRIDE<N>);
        advance<T, N, true>(m, p, vs + from, total + q * N, band);
      }
    }
    load_band<N, true>(m, gradients + c.number * N * N, band);
    for (unsigned q = PIECES<N>; q-- > 0;) {
      unsigned from = q * SUB * STRIDE<N>;
      float upper = 0, lower = 0;
      if (q > 0) {
        const T *at = reinterpret_cast<const T *>(part(q, band));
#pragma unroll
        for (unsigned x = 0; x < N / 8; x += Pack<T>::N / 4) {
          Pack<T> some = load_pack(at + (x / (Pack<T>::N / 4) * WARP + lane) * Pack<T>::N);
#pragma unroll
          for (unsigned e = 0; e < Pack<T>::N; e++) {
            float &sum = e % 4 < 2 ? upper : lower;
            sum = fmaf(wide(some.x[e]), m[x + e / 4][e % 4], sum);
          }
        }
      } else {
        float first[N / 8][4];
        load_band<N, true>(first, states + c.number * N * N, band);
#pragma unroll
        for (unsigned x = 0; x < N / 8; x++)
#pragma unroll
          for (unsigned e = 0; e < 4; e++) {
            float &sum = e < 2 ? upper : lower;
            sum = fmaf(first[x][e], m[x][e], sum);
          }
      }
#pragma unroll
      for (unsigned mask = 2; mask > 0; mask /= 2) {
        upper += __shfl_xor_sync(ALL, upper, mask);
        lower += __shfl_xor_sync(ALL, lower, mask);
      }
      if (t4 == 0) {
        unsigned at = q * N + 16 * band + g;
        passing[at] = upper * total[at];
        passing[at + 8] = lower * total[at + 8];
      }
      float o[2][4] = {};
      apply<T, N>(o, m, vs + from);
      __syncwarp();
      float *to = reinterpret_cast<float *>(part(q, band));
#pragma unroll
      for (unsigned half = 0; half < 2; half++)
#pragma unroll
        for (unsigned e = 0; e < 4; e++)
          to[(8 * half + 2 * t4 + e % 2) * PART_STRIDE + g + e / 2 * 8] = o[half][e];
      if (q > 0) {
        TileA<T> p;
        load_turned(p, read + from + 16 * band, STRIDE<N>);
        advance<T, N, true>(m, p, dys + from, total + q * N, band);
      }
    }
  }
  T raws[SUB];
  load_column<T, N>(raws, raw, c, n);
  __syncthreads();

  // A thread's column again: what passes within the piece, in float32. d ln w/dω waits where r̂ and k̂ were,
  // parts of d ln w where the far terms were, dr, dk and dω where v, dy and k were.
  float *slope = reinterpret_cast<float *>(read) + piece * SUB * FLOATS<N> + i, w[SUB];
#pragma unroll
  for (unsigned s = 0; s < SUB; s++) {
    float x = piece * SUB + s < c.steps ? exponential<T>(wide(raws[s])) : 0.0f;
    w[s] = exponential<T>(-x);
    slope[s * FLOATS<N>] = w[s] == 0 ? 0.0f : -x;
  }
  unsigned at = piece * SUB * STRIDE<N> + i;
  const float *own = pairs + piece * SUB * PAIRS;
  float *fc = far_dr + piece * SUB * FLOATS<N> + i;
  float *gc = reinterpret_cast<float *>(part(piece, i / 16)) + i % 16;
  float bonus = i < n ? u[blockIdx.y * n + i] : 0.0f;
  float carried[SUB];  // k_s, decayed up to t; then r_t, decayed down to s
  float share = 0, decay = 1;
#pragma unroll
  for (unsigned t = 0; t < SUB; t++) {
    float rt = wide(rs[at + t * STRIDE<N>]), kt = wide(ks[at + t * STRIDE<N>]), inner = 0, near = 0;
#pragma unroll
    for (unsigned s = 0; s + 1 < t; s++) inner = fmaf(own[t * PAIRS + s], carried[s], inner);
    if (t > 0) near = own[t * PAIRS + t - 1] * carried[t - 1];
    float some = fmaf(decay, fc[t * FLOATS<N>], inner), same = own[t * PAIRS + t];
    fc[t * FLOATS<N>] = rt * some;
    share = fmaf(rt * kt, same, share);
    vs[at + t * STRIDE<N>] = narrow<T>(fmaf(bonus * kt, same, some + near));
#pragma unroll
    for (unsigned s = 0; s < t; s++) carried[s] *= w[t];
    carried[t] = kt;
    decay *= w[t];
  }
  float sum = 0;
  decay = 1;
#pragma unroll
  for (unsigned s = SUB; s-- > 0;) {
    float rt = wide(rs[at + s * STRIDE<N>]), kt = wide(ks[at + s * STRIDE<N>]), inner = 0, near = 0;
#pragma unroll
    for (unsigned t = SUB - 1; t > s + 1; t--) inner = fmaf(own[s * PAIRS + t], carried[t], inner);
    if (s + 1 < SUB) near = own[s * PAIRS + s + 1] * carried[s + 1];
    float far = decay * gc[s * PART_STRIDE], same = own[s * PAIRS + s];
    gc[s * PART_STRIDE] = kt * far;
    dys[at + s * STRIDE<N>] = narrow<T>(fmaf(bonus * rt, same, far + inner + near));
    sum = fmaf(-kt, inner, sum);
    float more = fc[s * FLOATS<N>];
    fc[s * FLOATS<N>] = sum;
    sum += more;
#pragma unroll
    for (unsigned t = s + 1; t < SUB; t++) carried[t] *= w[s];
    carried[s] = rt;
    decay *= w[s];
  }
  sum = passing[piece * N + i];
#pragma unroll
  for (unsigned m = 0; m < SUB; m++) {
    ks[at + m * STRIDE<N>] = narrow<T>(slope[m * FLOATS<N>] * (sum + fc[m * FLOATS<N>]));
    sum += gc[m * PART_STRIDE];
  }
  shares[piece * N + i] = share;
  __syncthreads();
  store_tile<T, N>(dr, vs, c, n);
  store_tile<T, N>(dk, dys, c, n);
  store_tile<T, N>(draw, ks, c, n);
  if (threadIdx.x < n) {
    float all = 0;
    for (unsigned q = 0; q < PIECES<N>; q++) all += shares[q * N + threadIdx.x];
    du[((size_t(blockIdx.z) * gridDim.x + blockIdx.x) * gridDim.y + blockIdx.y) * n + threadIdx.x] = all;
  }
}

/// One step after the other; a thread holds ROWS keys of one value's column.
template <class T, unsigned N>
__device__ __forceinline__ void step(const T *r, const T *k, const T *v, const T *raw, const float *u,
                                     const float *state, T *y, float *last, unsigned time, unsigned n) {
  SHARED(shared);
  constexpr unsigned PARTS = 256 / N, ROWS = N / PARTS;
  float *rs = reinterpret_cast<float *>(shared), *ks = rs + N, *ws = ks + N, *us = ws + N, *sums = us + N;
  unsigned j = threadIdx.x % N, part = threadIdx.x / N, width = gridDim.x * n;
  size_t from = (size_t(blockIdx.y) * gridDim.x + blockIdx.x) * n * n;
  float s[ROWS];
#pragma unroll
  for (unsigned x = 0; x < ROWS; x++) {
    unsigned i = part * ROWS + x;
    s[x] = i < n && j < n ? state[from + i * n + j] : 0.0f;
  }
  if (part == 0) us[j] = j < n ? u[blockIdx.x * n + j] : 0.0f;
  for (unsigned t = 0; t < time; t++) {
    size_t at = (size_t(blockIdx.y) * time + t) * width + blockIdx.x * n + j;
    if (part == 0) {
      rs[j] = j < n ? wide(r[at]) : 0.0f;
      ks[j] = j < n ? wide(k[at]) : 0.0f;
      ws[j] = j < n ? expf(-expf(wide(raw[at]))) : 0.0f;
    }
    float value = j < n ? wide(v[at]) : 0.0f, sum = 0;
    __syncthreads();
#pragma unroll
    for (unsigned x = 0; x < ROWS; x++) {
      unsigned i = part * ROWS + x;
      float kv = ks[i] * value;
      sum = fmaf(rs[i], fmaf(us[i], kv, s[x]), sum);
      s[x] = fmaf(ws[i], s[x], kv);
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (part == 0 && j < n) {
      float all = 0;
      for (unsigned x = 0; x < PARTS; x++) all += sums[x * N + j];
      y[at] = narrow<T>(all);
    }
  }
#pragma unroll
  for (unsigned x = 0; x < ROWS; x++) {
    unsigned i = part * ROWS + x;
    if (i < n && j < n) last[from + i * n + j] = s[x];
  }
}

/// The sum of K numbers: of both halves' sums, element by element, as long as there are halves.
template <unsigned K, unsigned ALL_OF> __device__ __forceinline__ float halved(float (&x)[ALL_OF]) {
  if constexpr (K > 1) {
#pragma unroll
    for (unsigned i = 0; i < K / 2; i++) x[i] += x[K / 2 + i];
    return halved<K / 2>(x);
  } else {
    return x[0];
  }
}

/// One step of a head from a to the gated read-out, rounded where a launch of its own would store: a [rank], W [rank,
/// heads·n]. Products are added up in the order of `row::in_out` with 512 threads.
template <class T, unsigned N>
__device__ __forceinline__ void head(const T *a, const T *w, const float *b, const T *r, const T *k, const T *v,
                                     const T *g, const float *u, const float *nw, const float *nb, const float *state,
                                     T *raw, T *y, float *last, unsigned rank, unsigned n, float eps) {
  SHARED(shared);
  constexpr unsigned PARTS = 256 / N, TEAMS = 16 * Pack<T>::N, SHARE = TEAMS / PARTS;
  float *sums = reinterpret_cast<float *>(shared) + 4 * N;
  unsigned j = threadIdx.x % N, part = threadIdx.x / N, first = blockIdx.x * n, width = gridDim.x * n;
  float sum[SHARE] = {};
  for (unsigned from = part; from < rank; from += TEAMS)
#pragma unroll
    for (unsigned q = 0; q < SHARE; q++) {
      unsigned i = from + q * PARTS;
      if (i < rank && j < n) sum[q] += wide(a[i]) * wide(w[size_t(i) * width + first + j]);
    }
  sums[threadIdx.x] = halved<SHARE>(sum);
  __syncthreads();
  if (part == 0 && j < n) {
    float all[PARTS];
#pragma unroll
    for (unsigned x = 0; x < PARTS; x++) all[x] = sums[x * N + j];
    raw[first + j] = narrow<T>(halved<PARTS>(all) + b[first + j]);
  }
  // Whoever reads ω has written it.
  step<T, N>(r, k, v, raw, u, state, y, last, 1, n);
  __syncthreads();
  float gated = 0;
  norm::by_block(y + first, nw + first, nb + first, n, true, eps, [&](unsigned i, T normed) {
    gated = silu<T>(wide(g[first + i])) * wide(normed);
  });
  __syncthreads();
  if (threadIdx.x < n) y[first + threadIdx.x] = narrow<T>(gated);
}

}  // namespace V5_WKV6
}  // namespace v5
