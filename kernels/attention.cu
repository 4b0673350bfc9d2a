// Causal attention over a cache: forward, backward and decoding (Dao et al. 2022, "FlashAttention",
// algorithms 1 and 4; Dao 2023, "FlashAttention-2", algorithms 1 and 2).
//
//   s_ij = q_i·k_j / √size            query i of T sees keys j = 0 ..= P + i
//   ℓ_i  = ln Σ_j exp(s_ij)           p_ij = exp(s_ij − ℓ_i)           y_i = Σ_j p_ij v_j
//   along_i = y_i·dy_i                ds_ij = p_ij (dy_i·v_j − along_i)
//   dq_i = Σ_j ds_ij k_j / √size      dk_j = Σ_i ds_ij q_i / √size     dv_j = Σ_i p_ij dy_i
//
// qkv and dqkv are [B·T, 3·d], y and dy [B·T, d], ℓ [B·T, H] (float), d = H·size. Keys and values lie in qkv
// (k = v = qkv, k_at = d, v_at = 2d, stride = 3d) or in a cache of P + T positions (k_at = v_at = 0, stride =
// d). The past gets no gradient. A head's size is at most D, the 16, 32, 64 or 128 in a kernel's name; in
// shared memory the columns up to D are zeros. Rows of whole packs of 16 bytes are fetched asynchronously,
// others element by element.
//
// Scores stay in registers, and exponentials are of base 2. The largest score so far may pass over NaN,
// because exp2(NaN − anything) brings it back. A row that has seen nothing yet has its largest score at −∞
// and counts as zeros; if it ends so, 0/0 makes it NaN, as the definition does. A masked key adds zero times
// its value: NaN in a value can show in queries up to a tile before its position.
//
// The backward pass has no atomics: one kernel goes over keys for a tile of queries (dq), another over
// queries for a tile of keys (dk, dv), at the price of seven products instead of five.
//
// | kernel | grid | threads | shared bytes, R = (D + 8)·sizeof(T) |
// |---|---|---|---|
// | output_D_T  | G, ceil(T / Q), ceil(B·H / G)                  | 128 | (Q + 256)·R |
// | decode_D_T  | B·H, splits, ceil(T / 16)                      | 128 | max(400·R, 64·(D + 2)·4) |
// | merge_T     | B·T·H                                          | 256 | 4096 |
// | append_T    | ceil(B·(P + T) / 8), 2                         | 256 | 0 |
// | along_D_T   | ceil(B·T·H·L / 128), L = D·sizeof(T) / 16      | 128 | 0 |
// | queries_D_T | G, ceil(T / Q), ceil(B·H / G)                  | 128 | (2·Q + 256)·R |
// | keys_D_T    | G, ceil(T / Q), ceil(B·H / G)                  | 128 | (2·Q + 256)·R + 1024 |
//
// Q is 128 for bf16 with D <= 64, else 64. G is how many heads' keys and values the second-level cache is to
// hold at a time: blocks of G heads go first, the longest of them first.

#include "tile.cuh"
#include "vectors.cuh"

namespace v5::attention {

constexpr unsigned WARPS = 4, THREADS = WARPS * WARP;
/// Rows of what is streamed through shared memory.
constexpr unsigned STREAM = 64;
constexpr float LOG2E = 1.4426950408889634f;

/// What is attended to, as the host says it; scale is 1/√size.
struct Sizes {
  unsigned batch, heads, size, time, past, k_at, v_at, stride;
  float scale;
};

/// Sixteens of rows that a warp keeps: two use each right operand twice, where there are registers for it.
template <class T, unsigned D>
constexpr unsigned TALL = sizeof(T) == 2 && D <= 64 ? 2 : 1;
/// From one row in shared memory to the next.
template <unsigned D>
constexpr unsigned ROW = D + 8;

/// A value from which nothing is computed ahead of time: what is cheap to make anew must not wait in registers.
__device__ __forceinline__ unsigned anew(unsigned x) {
#ifndef V5_EMULATE
  asm volatile("" : "+r"(x));
#endif
  return x;
}

__device__ __forceinline__ void put_two(float *to, float a, float b) { to[0] = a, to[1] = b; }
__device__ __forceinline__ void put_two(bf16 *to, float a, float b) {
  *reinterpret_cast<unsigned *>(to) = pack_bf16(narrow<bf16>(a), narrow<bf16>(b));
}

/// Two right operands from 16 columns of k: B[k][j] at from[j·stride + k].
__device__ __forceinline__ void load_two(TileB<bf16> (&b)[2], const bf16 *from, unsigned stride) {
  unsigned lane = threadIdx.x % WARP, r[4];
  load_matrices<4, false>(r, from + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
  memcpy(b[0].x, r, 8);
  memcpy(b[1].x, r + 2, 8);
}
/// From rows of k, 16 columns: B[k][j] at from[k·stride + j].
__device__ __forceinline__ void load_two_turned(TileB<bf16> (&b)[2], const bf16 *from, unsigned stride) {
  unsigned lane = threadIdx.x % WARP, r[4];
  load_matrices<4, true>(r, from + (lane % 16) * stride + lane / 16 * 8);
  memcpy(b[0].x, r, 8);
  memcpy(b[1].x, r + 2, 8);
}
__device__ __forceinline__ void load_two(TileB<float> (&b)[2], const float *from, unsigned stride) {
  load(b[0], from, stride);
  load(b[1], from + 8 * stride, stride);
}
__device__ __forceinline__ void load_two_turned(TileB<float> (&b)[2], const float *from, unsigned stride) {
  load_turned(b[0], from, stride);
  load_turned(b[1], from + 8, stride);
}

/// Whether rows that start there are whole packs of 16 bytes: sizes of heads divide all strides.
template <class T>
__device__ __forceinline__ bool packed(const T *from, unsigned size) {
  return size % Pack<T>::N == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
}

/// Rows first .. first + ROWS of a head to shared memory, by threads `me` of LANES; zeros from row `limit`
/// and from column `size` on. Ends no group of copies.
template <unsigned ROWS, unsigned LANES, unsigned D, class T>
__device__ __forceinline__ void fetch(T *to, const T *from, unsigned stride, unsigned first, unsigned limit,
                                      unsigned size, unsigned me) {
  constexpr unsigned N = Pack<T>::N, PACKS = D / N, STEP = LANES / PACKS;
  static_assert(LANES % PACKS == 0, "a thread stays in its columns");
  unsigned rows = first < limit ? limit - first : 0;
  if (packed(from, size)) {
    unsigned row = me / PACKS, column = me % PACKS * N;
    // Where nothing is valid nothing is read, wherever `source` may point.
    if (column >= size) rows = 0;
    const T *source = from + size_t(first + row) * stride + column;
    to += row * ROW<D> + column;
#pragma unroll
    for (unsigned i = 0; i < ROWS; i += STEP)
      if (ROWS % STEP == 0 || row + i < ROWS) {
        copy_async(to + i * ROW<D>, source, row + i < rows);
        source += size_t(STEP) * stride;
      }
  } else {
#pragma unroll 1
    for (unsigned at = me; at < ROWS * D; at += LANES) {
      unsigned row = at / D, column = at % D;
      bool valid = row < rows && column < size;
      to[row * ROW<D> + column] = valid ? from[size_t(first + row) * stride + column] : narrow<T>(0.0f);
    }
  }
}

/// A warp's results, 16·M rows of which `rows` are wanted, through shared memory of its own to `to`.
template <class T, unsigned D, unsigned M>
__device__ __forceinline__ void put(T *to, unsigned stride, unsigned rows, unsigned size, T *room,
                                    const float (&x)[M][D / 8][4]) {
  constexpr unsigned N = Pack<T>::N, PACKS = D / N;
  unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
  __syncwarp();
#pragma unroll
  for (unsigned m = 0; m < M; m++)
#pragma unroll
    for (unsigned n = 0; n < D / 8; n++)
#pragma unroll
      for (unsigned half = 0; half < 2; half++)
        put_two(room + (16 * m + 8 * half + g) * ROW<D> + 8 * n + 2 * t, x[m][n][2 * half],
                x[m][n][2 * half + 1]);
  __syncwarp();
  if (packed(to, size)) {
#pragma unroll
    for (unsigned at = lane; at < 16 * M * PACKS; at += WARP) {
      unsigned row = at / PACKS, column = at % PACKS * N;
      if (row < rows && column < size)
        store_pack(to + size_t(row) * stride + column, load_pack(room + row * ROW<D> + column));
    }
  } else {
#pragma unroll 1
    for (unsigned at = lane; at < 16 * M * D; at += WARP) {
      unsigned row = at / D, column = at % D;
      if (row < rows && column < size) to[size_t(row) * stride + column] = room[row * ROW<D> + column];
    }
  }
}

/// 16·M rows of left operands: the first HELD sixteens of columns in registers, the others taken from shared memory
/// anew each time.
template <class T, unsigned D, unsigned M, unsigned HELD>
struct Left {
  TileA<T> held[HELD ? M : 1][HELD ? HELD : 1];
  const T *from;

  __device__ __forceinline__ void take(const T *rows) {
    from = rows;
#pragma unroll
    for (unsigned m = 0; m < (HELD ? M : 0); m++)
#pragma unroll
      for (unsigned k = 0; k < HELD; k++) load(held[m][k], from + 16 * m * ROW<D> + 16 * k, ROW<D>);
  }
  __device__ __forceinline__ TileA<T> at(unsigned m, unsigned k) const {
    if constexpr (HELD > 0)
      if (k < HELD) return held[m][k];
    TileA<T> a;
    load(a, from + 16 * m * ROW<D> + 16 * k, ROW<D>);
    return a;
  }
};
/// All columns where there are registers for them, or none.
template <class T, unsigned D>
constexpr unsigned WHOLE = sizeof(T) == 2 ? D / 16 : 0;
template <class T, unsigned D>
constexpr unsigned WHOLE_TWICE = D <= 64 ? WHOLE<T, D> : 0;

/// x = left · rowsᵀ: inner products with N rows in shared memory.
template <unsigned N, class T, unsigned D, unsigned M, unsigned HELD>
__device__ __forceinline__ void products(float (&x)[M][N / 8][4], const Left<T, D, M, HELD> &left,
                                         const T *rows) {
#pragma unroll
  for (unsigned m = 0; m < M; m++)
#pragma unroll
    for (unsigned n = 0; n < N / 8; n++)
#pragma unroll
      for (unsigned i = 0; i < 4; i++) x[m][n][i] = 0;
  // Emulated products are long: they are not unrolled where nothing asks for it.
#pragma unroll(HELD || sizeof(T) == 2 ? D / 16 : 1)
  for (unsigned k = 0; k < D / 16; k++) {
    TileA<T> a[M];
#pragma unroll
    for (unsigned m = 0; m < M; m++) a[m] = left.at(m, k);
#pragma unroll
    for (unsigned n = 0; n < N / 16; n++) {
      TileB<T> b[2];
      load_two(b, rows + 16 * n * ROW<D> + 16 * k, ROW<D>);
#pragma unroll
      for (unsigned m = 0; m < M; m++) {
        multiply(x[m][2 * n], a[m], b[0]);
        multiply(x[m][2 * n + 1], a[m], b[1]);
      }
    }
  }
}

/// y += x · rows, for x as `products` leaves it.
template <unsigned N, class T, unsigned D, unsigned M>
__device__ __forceinline__ void add_mixture(float (&y)[M][D / 8][4], const float (&x)[M][N / 8][4],
                                            const T *rows) {
#pragma unroll
  for (unsigned n = 0; n < N / 16; n++) {
    TileA<T> a[M];
#pragma unroll
    for (unsigned m = 0; m < M; m++) a[m] = as_left<T>(x[m][2 * n], x[m][2 * n + 1]);
#pragma unroll
    for (unsigned k = 0; k < D / 16; k++) {
      TileB<T> b[2];
      load_two_turned(b, rows + 16 * n * ROW<D> + 16 * k, ROW<D>);
#pragma unroll
      for (unsigned m = 0; m < M; m++) {
        multiply(y[m][2 * k], a[m], b[0]);
        multiply(y[m][2 * k + 1], a[m], b[1]);
      }
    }
  }
}

template <unsigned D, unsigned M>
__device__ __forceinline__ void clear(float (&x)[M][D / 8][4]) {
#pragma unroll
  for (unsigned m = 0; m < M; m++)
#pragma unroll
    for (unsigned n = 0; n < D / 8; n++)
#pragma unroll
      for (unsigned i = 0; i < 4; i++) x[m][n][i] = 0;
}

/// What a warp knows of 16·M queries after some of their keys. Of each 16 a lane has rows g and g + 8.
template <unsigned D, unsigned M>
struct Seen {
  float top[M][2];       // largest product q·k, not scaled
  float sum[M][2];       // of exp(score − largest), this lane's columns
  float y[M][D / 8][4];  // values, weighted likewise

  __device__ __forceinline__ void nothing() {
#pragma unroll
    for (unsigned m = 0; m < M; m++)
#pragma unroll
      for (unsigned half = 0; half < 2; half++) top[m][half] = -INFINITY, sum[m][half] = 0;
    clear<D, M>(y);
  }

  /// N more keys, numbered from `first`. Row r of the warp sees keys up to sees + r; c is scale · log2(e).
  template <unsigned N, class T, unsigned HELD>
  __device__ __forceinline__ void add(const Left<T, D, M, HELD> &q, const T *k, const T *v, float c,
                                      unsigned first, unsigned sees) {
    unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    float s[M][N / 8][4];
    products<N>(s, q, k);
    if (first + N - 1 > sees) {
#pragma unroll
      for (unsigned m = 0; m < M; m++)
#pragma unroll
        for (unsigned n = 0; n < N / 8; n++)
#pragma unroll
          for (unsigned i = 0; i < 4; i++)
            if (first + 8 * n + 2 * t + i % 2 > sees + 16 * m + g + i / 2 * 8) s[m][n][i] = -INFINITY;
    }
#pragma unroll
    for (unsigned m = 0; m < M; m++)
#pragma unroll
      for (unsigned half = 0; half < 2; half++) {
        float now = top[m][half];
#pragma unroll
        for (unsigned n = 0; n < N / 8; n++)
          now = fmaxf(now, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        now = fmaxf(now, __shfl_xor_sync(ALL, now, 1));
        now = fmaxf(now, __shfl_xor_sync(ALL, now, 2));
        float base = now == -INFINITY ? 0.0f : now * c;
        float keep = exp2_fast(top[m][half] * c - base);
        top[m][half] = now;
        float more = 0;
#pragma unroll
        for (unsigned n = 0; n < N / 8; n++)
#pragma unroll
          for (unsigned i = 2 * half; i < 2 * half + 2; i++) {
            s[m][n][i] = exp2_fast(s[m][n][i] * c - base);
            more += s[m][n][i];
          }
        sum[m][half] = sum[m][half] * keep + more;
#pragma unroll
        for (unsigned n = 0; n < D / 8; n++)
#pragma unroll
          for (unsigned i = 2 * half; i < 2 * half + 2; i++) y[m][n][i] *= keep;
      }
    add_mixture<N, T, D, M>(y, s, v);
  }

  /// Puts the lanes' sums together.
  __device__ __forceinline__ void total() {
#pragma unroll
    for (unsigned m = 0; m < M; m++)
#pragma unroll
      for (unsigned half = 0; half < 2; half++) {
        sum[m][half] += __shfl_xor_sync(ALL, sum[m][half], 1);
        sum[m][half] += __shfl_xor_sync(ALL, sum[m][half], 2);
      }
  }
};

/// y and ℓ: a block has 64·M queries of a head. Tiles go from the end of time, where there is most to do.
template <class T, unsigned D>
__device__ __forceinline__ void output(const T *qkv, const T *k, const T *v, T *y, float *log_sums, Sizes s) {
  constexpr unsigned M = TALL<T, D>, Q = 16 * M * WARPS;
  SHARED(raw);
  const unsigned heads = s.heads, size = s.size, time = s.time, width = heads * size, stride = s.stride;
  unsigned pair = blockIdx.z * gridDim.x + blockIdx.x, b = pair / heads, h = pair % heads;
  if (pair >= s.batch * heads) return;
  unsigned start = (gridDim.y - 1 - blockIdx.y) * Q, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  unsigned keys = s.past + time;
  const T *queries = qkv + size_t(b) * time * 3 * width + h * size;
  k += size_t(b) * keys * stride + s.k_at + h * size;
  v += size_t(b) * keys * stride + s.v_at + h * size;

  T *q_room = reinterpret_cast<T *>(raw), *stream = q_room + Q * ROW<D>;
  auto stage = [&](unsigned tile) {
    T *to = stream + tile % 2 * (2 * STREAM * ROW<D>);
    fetch<STREAM, THREADS, D>(to, k, stride, tile * STREAM, keys, size, threadIdx.x);
    fetch<STREAM, THREADS, D>(to + STREAM * ROW<D>, v, stride, tile * STREAM, keys, size, threadIdx.x);
    copy_commit();
  };
  fetch<Q, THREADS, D>(q_room, queries, 3 * width, start, time, size, threadIdx.x);
  copy_commit();
  unsigned tiles = (s.past + min(start + Q, time) + STREAM - 1) / STREAM;
  stage(0);
  copy_wait<1>();
  __syncthreads();

  unsigned row = start + 16 * M * warp, sees = s.past + row;
  T *own = q_room + 16 * M * warp * ROW<D>;
  Left<T, D, M, WHOLE<T, D>> q;
  q.take(own);
  Seen<D, M> x;
  x.nothing();
  float c = s.scale * LOG2E;
#pragma unroll 1
  for (unsigned tile = 0; tile < tiles; tile++) {
    // Behind this barrier the tile is there, and nobody reads the one before it any more.
    copy_wait<0>();
    __syncthreads();
    if (tile + 1 < tiles) stage(tile + 1);
    const T *now = stream + tile % 2 * (2 * STREAM * ROW<D>);
    if (tile * STREAM <= sees + 16 * M - 1)
      x.template add<STREAM>(q, now, now + STREAM * ROW<D>, c, tile * STREAM, sees);
  }
  x.total();
  unsigned g = lane / 4;
#pragma unroll
  for (unsigned m = 0; m < M; m++)
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
      unsigned i = row + 16 * m + 8 * half + g;
      if (lane % 4 == 0 && i < time)
        log_sums[(size_t(b) * time + i) * heads + h] = x.top[m][half] * s.scale + logf(x.sum[m][half]);
      float inverse = 1.0f / x.sum[m][half];
#pragma unroll
      for (unsigned n = 0; n < D / 8; n++) x.y[m][n][2 * half] *= inverse, x.y[m][n][2 * half + 1] *= inverse;
    }
  unsigned rows = row < time ? time - row : 0;
  put<T, D, M>(y + (size_t(b) * time + row) * width + h * size, width, rows, size, own, x.y);
}

/// Few queries, many keys: block (pair, split, tile of 16 queries) has keys split·chunk .. (split + 1)·chunk,
/// and its warps every fourth 16 of them, each with three buffers of its own. With one split the result is y
/// and ℓ; with more, for row u of B·T·H, parts[split][u][size] and marks[split][u] = (largest product, sum).
template <class T, unsigned D>
__device__ __forceinline__ void decode(const T *qkv, const T *k, const T *v, T *y, float *log_sums,
                                       float *parts, float *marks, unsigned chunk, Sizes s) {
  constexpr unsigned N = 16, BUFFERS = 3;
  SHARED(raw);
  const unsigned heads = s.heads, size = s.size, time = s.time, width = heads * size, stride = s.stride;
  unsigned b = blockIdx.x / heads, h = blockIdx.x % heads;
  unsigned start = blockIdx.z * 16, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  unsigned keys = s.past + time;
  const T *queries = qkv + size_t(b) * time * 3 * width + h * size;
  k += size_t(b) * keys * stride + s.k_at + h * size;
  v += size_t(b) * keys * stride + s.v_at + h * size;

  T *q_room = reinterpret_cast<T *>(raw), *stream = q_room + 16 * ROW<D> + warp * (BUFFERS * 2 * N * ROW<D>);
  fetch<16, THREADS, D>(q_room, queries, 3 * width, start, time, size, threadIdx.x);
  copy_commit();
  unsigned begin = blockIdx.y * chunk, end = min(begin + chunk, s.past + min(start + 16, time));
  unsigned steps = begin < end ? (end - begin + N - 1) / N : 0;
  steps = steps > warp ? (steps - warp + WARPS - 1) / WARPS : 0;
  auto stage = [&](unsigned step) {
    T *to = stream + step % BUFFERS * (2 * N * ROW<D>);
    if (step < steps) {
      unsigned first = begin + (step * WARPS + warp) * N;
      fetch<N, WARP, D>(to, k, stride, first, end, size, lane);
      fetch<N, WARP, D>(to + N * ROW<D>, v, stride, first, end, size, lane);
    }
    copy_commit();
  };
  for (unsigned i = 0; i + 1 < BUFFERS; i++) stage(i);
  copy_wait<BUFFERS - 1>();
  __syncthreads();
  Left<T, D, 1, WHOLE<T, D>> q;
  q.take(q_room);
  Seen<D, 1> x;
  x.nothing();
  float c = s.scale * LOG2E;
#pragma unroll 1
  for (unsigned step = 0; step < steps; step++) {
    copy_wait<BUFFERS - 2>();
    __syncwarp();
    stage(step + BUFFERS - 1);
    const T *now = stream + step % BUFFERS * (2 * N * ROW<D>);
    x.template add<N>(q, now, now + N * ROW<D>, c, begin + (step * WARPS + warp) * N, s.past + start);
  }
  x.total();
  __syncthreads();

  // The buffers are free: every warp's rows [16][D], then their largest products and sums.
  float *rows = reinterpret_cast<float *>(raw), *tops = rows + WARPS * 16 * D, *sums = tops + WARPS * 16;
  unsigned g = lane / 4, t = lane % 4;
#pragma unroll
  for (unsigned half = 0; half < 2; half++) {
    unsigned row = 16 * warp + 8 * half + g;
    if (t == 0) tops[row] = x.top[0][half], sums[row] = x.sum[0][half];
#pragma unroll
    for (unsigned n = 0; n < D / 8; n++)
      put_two(rows + row * D + 8 * n + 2 * t, x.y[0][n][2 * half], x.y[0][n][2 * half + 1]);
  }
  __syncthreads();
  unsigned wanted = min(time - start, 16u);
  size_t units = size_t(s.batch) * time * heads;
  for (unsigned at = threadIdx.x; at < wanted * D; at += THREADS) {
    unsigned row = at / D, column = at % D;
    if (column >= size) continue;
    float top = -INFINITY;
#pragma unroll
    for (unsigned w = 0; w < WARPS; w++) top = fmaxf(top, tops[16 * w + row]);
    float base = top == -INFINITY ? 0.0f : top * c, sum = 0, mean = 0;
#pragma unroll
    for (unsigned w = 0; w < WARPS; w++) {
      float keep = exp2_fast(tops[16 * w + row] * c - base);
      sum += keep * sums[16 * w + row];
      mean += keep * rows[(16 * w + row) * D + column];
    }
    size_t unit = (size_t(b) * time + start + row) * heads + h;
    if (gridDim.y == 1) {
      y[unit * size + column] = narrow<T>(mean / sum);
      if (column == 0) log_sums[unit] = top * s.scale + logf(sum);
    } else {
      parts[(blockIdx.y * units + unit) * size + column] = mean;
      if (column == 0) put_two(marks + (blockIdx.y * units + unit) * 2, top, sum);
    }
  }
}

/// Puts the splits of `decode` together: a block has one head of one query, a warp every eighth split.
template <class T>
__device__ __forceinline__ void merge(const float *parts, const float *marks, T *y, float *log_sums,
                                      unsigned size, unsigned splits, float scale) {
  constexpr unsigned MOST = 128;
  SHARED(raw);
  float *rows = reinterpret_cast<float *>(raw);
  unsigned warp = threadIdx.x / WARP, warps = blockDim.x / WARP, lane = threadIdx.x % WARP;
  size_t units = gridDim.x, unit = blockIdx.x;
  float c = scale * LOG2E, top = -INFINITY, sum = 0;
  for (unsigned i = lane; i < splits; i += WARP) top = fmaxf(top, marks[(i * units + unit) * 2]);
  for (unsigned mask = 16; mask > 0; mask /= 2) top = fmaxf(top, __shfl_xor_sync(ALL, top, mask));
  float base = top == -INFINITY ? 0.0f : top * c;
  for (unsigned i = lane; i < splits; i += WARP) {
    const float *mark = marks + (i * units + unit) * 2;
    sum += exp2_fast(mark[0] * c - base) * mark[1];
  }
  sum = warp_sum(sum);
  float mean[MOST / WARP] = {};
#pragma unroll 4
  for (unsigned i = warp; i < splits; i += warps) {
    float keep = exp2_fast(marks[(i * units + unit) * 2] * c - base);
#pragma unroll
    for (unsigned j = 0; j < MOST / WARP; j++)
      if (lane + j * WARP < size) mean[j] += keep * parts[(i * units + unit) * size + lane + j * WARP];
  }
#pragma unroll
  for (unsigned j = 0; j < MOST / WARP; j++) rows[warp * MOST + lane + j * WARP] = mean[j];
  __syncthreads();
  for (unsigned column = threadIdx.x; column < size; column += blockDim.x) {
    float all = 0;
    for (unsigned w = 0; w < warps; w++) all += rows[w * MOST + column];
    y[unit * size + column] = narrow<T>(all / sum);
  }
  if (threadIdx.x == 0) log_sums[unit] = top * scale + logf(sum);
}

/// The cache with the new positions behind it: [B, P, d] and a third of qkv to [B, P + T, d]; blockIdx.y 0
/// for the keys, 1 for the values.
template <class T>
__device__ __forceinline__ void append(const T *old_k, const T *old_v, const T *qkv, T *k, T *v,
                                       unsigned batch, unsigned width, unsigned time, unsigned past) {
  constexpr unsigned ROWS = 8, N = Pack<T>::N;
  const T *old = blockIdx.y == 0 ? old_k : old_v;
  T *to = blockIdx.y == 0 ? k : v;
  bool packs = packed(old, width) && packed(qkv, width) && packed(to, width);
  unsigned columns = packs ? width / N : width;
  for (unsigned i = threadIdx.x; i < ROWS * columns; i += blockDim.x) {
    unsigned row = blockIdx.x * ROWS + i / columns, column = i % columns;
    unsigned b = row / (past + time), t = row % (past + time);
    if (b >= batch) continue;
    const T *from = t < past ? old + (size_t(b) * past + t) * width
                             : qkv + (size_t(b) * time + t - past) * 3 * width + (1 + blockIdx.y) * width;
    if (packs)
      store_pack(to + size_t(row) * width + column * N, load_pack(from + column * N));
    else
      to[size_t(row) * width + column] = from[column];
  }
}

/// For every query and head, by D / N lanes: ℓ·log2(e) and along, both to [B, H, T].
template <class T, unsigned D>
__device__ __forceinline__ void along(const T *y, const T *dy, const float *log_sums, float *exponents,
                                      float *alongs, unsigned batch, unsigned heads, unsigned size,
                                      unsigned time) {
  constexpr unsigned N = Pack<T>::N, LANES = D / N;
  static_assert(LANES <= WARP, "a head is a warp's work at most");
  size_t unit = size_t(blockIdx.x) * (THREADS / LANES) + threadIdx.x / LANES;
  bool valid = unit < size_t(batch) * time * heads;
  unsigned column = threadIdx.x % LANES * N;
  float sum = 0;
  if (packed(y, size) && packed(dy, size)) {
    if (valid && column < size) {
      auto a = load_pack(y + unit * size + column), b = load_pack(dy + unit * size + column);
#pragma unroll
      for (unsigned i = 0; i < N; i++) sum += wide(a.x[i]) * wide(b.x[i]);
    }
  } else if (valid) {
    for (unsigned i = column; i < min(column + N, size); i++)
      sum += wide(y[unit * size + i]) * wide(dy[unit * size + i]);
  }
#pragma unroll
  for (unsigned mask = LANES / 2; mask > 0; mask /= 2) sum += __shfl_xor_sync(ALL, sum, mask);
  if (valid && column == 0) {
    size_t row = unit / heads, h = unit % heads;
    size_t to = (row / time * heads + h) * time + row % time;
    exponents[to] = log_sums[unit] * LOG2E;
    alongs[to] = sum;
  }
}

/// dq: a block has 64·M queries of a head, and goes over the keys they see.
template <class T, unsigned D>
__device__ __forceinline__ void queries(const T *qkv, const T *k, const T *v, const T *dy,
                                        const float *exponents, const float *alongs, T *dqkv, Sizes s) {
  constexpr unsigned M = TALL<T, D>, Q = 16 * M * WARPS, N = 32;
  SHARED(raw);
  const unsigned heads = s.heads, size = s.size, time = s.time, width = heads * size, stride = s.stride;
  unsigned pair = blockIdx.z * gridDim.x + blockIdx.x, b = pair / heads, h = pair % heads;
  if (pair >= s.batch * heads) return;
  unsigned start = (gridDim.y - 1 - blockIdx.y) * Q, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  unsigned keys = s.past + time, g = lane / 4, t = lane % 4;
  k += size_t(b) * keys * stride + s.k_at + h * size;
  v += size_t(b) * keys * stride + s.v_at + h * size;

  T *q_room = reinterpret_cast<T *>(raw), *dy_room = q_room + Q * ROW<D>, *stream = dy_room + Q * ROW<D>;
  auto stage = [&](unsigned tile) {
    T *to = stream + tile % 2 * (2 * STREAM * ROW<D>);
    fetch<STREAM, THREADS, D>(to, k, stride, tile * STREAM, keys, size, threadIdx.x);
    fetch<STREAM, THREADS, D>(to + STREAM * ROW<D>, v, stride, tile * STREAM, keys, size, threadIdx.x);
    copy_commit();
  };
  size_t rows_before = size_t(b) * time;
  fetch<Q, THREADS, D>(q_room, qkv + rows_before * 3 * width + h * size, 3 * width, start, time, size,
                       threadIdx.x);
  fetch<Q, THREADS, D>(dy_room, dy + rows_before * width + h * size, width, start, time, size, threadIdx.x);
  copy_commit();
  unsigned tiles = (s.past + min(start + Q, time) + STREAM - 1) / STREAM;
  stage(0);

  unsigned row = start + 16 * M * warp, sees = s.past + row;
  float exponent[M][2], inward[M][2], dq[M][D / 8][4];
#pragma unroll
  for (unsigned m = 0; m < M; m++)
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
      unsigned i = row + 16 * m + 8 * half + g;
      exponent[m][half] = i < time ? exponents[size_t(pair) * time + i] : INFINITY;
      inward[m][half] = i < time ? alongs[size_t(pair) * time + i] : 0.0f;
    }
  clear<D, M>(dq);
  copy_wait<1>();
  __syncthreads();
  Left<T, D, M, WHOLE_TWICE<T, D>> q, out;
  q.take(q_room + 16 * M * warp * ROW<D>);
  out.take(dy_room + 16 * M * warp * ROW<D>);
  float c = s.scale * LOG2E;
#pragma unroll 1
  for (unsigned tile = 0; tile < tiles; tile++) {
    copy_wait<0>();
    __syncthreads();
    if (tile + 1 < tiles) stage(tile + 1);
#pragma unroll 1
    for (unsigned part = 0; part < STREAM; part += N) {
      unsigned first = tile * STREAM + part;
      if (first > sees + 16 * M - 1) break;
      const T *now = stream + (tile % 2 * (2 * STREAM) + part) * ROW<D>;
      float s[M][N / 8][4], ds[M][N / 8][4];
      products<N>(s, q, now);
      products<N>(ds, out, now + STREAM * ROW<D>);
      bool whole = first + N - 1 <= sees;
#pragma unroll
      for (unsigned m = 0; m < M; m++)
#pragma unroll
        for (unsigned n = 0; n < N / 8; n++)
#pragma unroll
          for (unsigned i = 0; i < 4; i++) {
            float p = exp2_fast(s[m][n][i] * c - exponent[m][i / 2]);
            if (!whole && first + 8 * n + 2 * t + i % 2 > sees + 16 * m + g + i / 2 * 8) p = 0;
            ds[m][n][i] = p * (ds[m][n][i] - inward[m][i / 2]);
          }
      add_mixture<N, T, D, M>(dq, ds, now);
    }
  }
#pragma unroll
  for (unsigned m = 0; m < M; m++)
#pragma unroll
    for (unsigned n = 0; n < D / 8; n++)
#pragma unroll
      for (unsigned i = 0; i < 4; i++) dq[m][n][i] *= s.scale;
  unsigned rows = row < time ? time - row : 0;
  put<T, D, M>(dqkv + (rows_before + row) * 3 * width + h * size, 3 * width, rows, size,
               q_room + 16 * M * warp * ROW<D>, dq);
}

/// dk and dv: a block has 64·M of a head's new keys, and goes over the queries that see them. Scores lie with
/// keys going down, so that both products take them from registers.
template <class T, unsigned D>
__device__ __forceinline__ void keys(const T *qkv, const T *k, const T *v, const T *dy,
                                     const float *exponents, const float *alongs, T *dqkv, Sizes s) {
  constexpr unsigned M = TALL<T, D>, K = 16 * M * WARPS, N = M == 2 || sizeof(T) == 4 ? 16 : 32;
  SHARED(raw);
  const unsigned heads = s.heads, size = s.size, time = s.time, width = heads * size, stride = s.stride;
  unsigned pair = blockIdx.z * gridDim.x + blockIdx.x, b = pair / heads, h = pair % heads;
  if (pair >= s.batch * heads) return;
  unsigned start = blockIdx.y * K, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  unsigned g = lane / 4, t = lane % 4;
  k += (size_t(b) * (s.past + time) + s.past) * stride + s.k_at + h * size;
  v += (size_t(b) * (s.past + time) + s.past) * stride + s.v_at + h * size;

  T *k_room = reinterpret_cast<T *>(raw), *v_room = k_room + K * ROW<D>, *stream = v_room + K * ROW<D>;
  float *marks = reinterpret_cast<float *>(stream + 4 * STREAM * ROW<D>);
  auto stage = [&](unsigned tile) {
    unsigned first = start + tile * STREAM;
    T *to = stream + tile % 2 * (2 * STREAM * ROW<D>);
    size_t before = size_t(anew(b)) * time * width;
    unsigned column = anew(h) * size;
    fetch<STREAM, THREADS, D>(to, qkv + 3 * before + column, 3 * width, first, time, size, threadIdx.x);
    fetch<STREAM, THREADS, D>(to + STREAM * ROW<D>, dy + before + column, width, first, time, size, threadIdx.x);
    copy_commit();
    // The first half of the threads fetches exponents, the second alongs.
    unsigned i = first + threadIdx.x % STREAM;
    bool low = threadIdx.x < STREAM;
    const float *mark = low ? exponents : alongs;
    marks[tile % 2 * (2 * STREAM) + threadIdx.x] =
        i < time ? mark[size_t(anew(pair)) * time + i] : low ? INFINITY : 0.0f;
  };
  fetch<K, THREADS, D>(k_room, k, stride, start, time, size, threadIdx.x);
  fetch<K, THREADS, D>(v_room, v, stride, start, time, size, threadIdx.x);
  copy_commit();
  unsigned tiles = (time - start + STREAM - 1) / STREAM;
  stage(0);
  copy_wait<1>();
  __syncthreads();

  unsigned row = start + 16 * M * warp;
  T *own_k = k_room + 16 * M * warp * ROW<D>, *own_v = v_room + 16 * M * warp * ROW<D>;
  // The values' other half is taken anew: with all of them the sums would not fit.
  Left<T, D, M, WHOLE_TWICE<T, D>> key;
  Left<T, D, M, M == 2 && D == 64 ? WHOLE_TWICE<T, D> - 2 : WHOLE_TWICE<T, D>> value;
  key.take(own_k);
  value.take(own_v);
  float dk[M][D / 8][4], dv[M][D / 8][4];
  clear<D, M>(dk);
  clear<D, M>(dv);
  float c = s.scale * LOG2E;
#pragma unroll 1
  for (unsigned tile = 0; tile < tiles; tile++) {
    copy_wait<0>();
    __syncthreads();
    if (tile + 1 < tiles) stage(tile + 1);
#pragma unroll 1
    for (unsigned part = 0; part < STREAM; part += N) {
      unsigned first = start + tile * STREAM + part;
      if (first + N - 1 < row) continue;
      const T *q = stream + (tile % 2 * (2 * STREAM) + part) * ROW<D>, *out = q + STREAM * ROW<D>;
      const float *exponent = marks + tile % 2 * (2 * STREAM) + part, *inward = exponent + STREAM;
      float p[M][N / 8][4], ds[M][N / 8][4];
      products<N>(p, key, q);
      products<N>(ds, value, out);
      bool whole = first >= row + 16 * M - 1;
#pragma unroll
      for (unsigned n = 0; n < N / 8; n++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
          unsigned column = 8 * n + 2 * t + i % 2;
#pragma unroll
          for (unsigned m = 0; m < M; m++) {
            p[m][n][i] = exp2_fast(p[m][n][i] * c - exponent[column]);
            if (!whole && first + column < row + 16 * m + g + i / 2 * 8) p[m][n][i] = 0;
            ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - inward[column]);
          }
        }
      add_mixture<N, T, D, M>(dv, p, out);
      add_mixture<N, T, D, M>(dk, ds, q);
    }
  }
#pragma unroll
  for (unsigned m = 0; m < M; m++)
#pragma unroll
    for (unsigned n = 0; n < D / 8; n++)
#pragma unroll
      for (unsigned i = 0; i < 4; i++) dk[m][n][i] *= s.scale;
  unsigned rows = row < time ? time - row : 0;
  T *to = dqkv + (size_t(anew(b)) * time + row) * 3 * width + width + h * size;
  put<T, D, M>(to, 3 * width, rows, size, own_k, dk);
  put<T, D, M>(to + width, 3 * width, rows, size, own_v, dv);
}

}  // namespace v5::attention

// With so many blocks at a time on a multiprocessor: registers for all that is unrolled, and no spills.
#define V5_KERNEL(BLOCKS, name, parameters, call) \
  extern "C" __global__ void __launch_bounds__(128, BLOCKS) name parameters { call; } \
  EXPORT(name)
#define V5_SIZES \
  unsigned batch, unsigned heads, unsigned size, unsigned time, unsigned past, unsigned k_at, unsigned v_at, \
      unsigned stride, float scale
#define V5_GIVEN {batch, heads, size, time, past, k_at, v_at, stride, scale}
#define V5_SIZED(S, T, D) \
  V5_KERNEL(2, attention_output_##D##_##S, \
            (const T *qkv, const T *k, const T *v, T *y, float *log_sums, V5_SIZES), \
            (v5::attention::output<T, D>(qkv, k, v, y, log_sums, V5_GIVEN))) \
  V5_KERNEL(4, attention_decode_##D##_##S, \
            (const T *qkv, const T *k, const T *v, T *y, float *log_sums, float *parts, float *marks, \
             unsigned chunk, V5_SIZES), \
            (v5::attention::decode<T, D>(qkv, k, v, y, log_sums, parts, marks, chunk, V5_GIVEN))) \
  KERNEL(128, attention_along_##D##_##S, \
         (const T *y, const T *dy, const float *log_sums, float *exponents, float *alongs, unsigned batch, \
          unsigned heads, unsigned size, unsigned time), \
         (v5::attention::along<T, D>(y, dy, log_sums, exponents, alongs, batch, heads, size, time))) \
  V5_KERNEL(2, attention_queries_##D##_##S, \
            (const T *qkv, const T *k, const T *v, const T *dy, const float *exponents, const float *alongs, \
             T *dqkv, V5_SIZES), \
            (v5::attention::queries<T, D>(qkv, k, v, dy, exponents, alongs, dqkv, V5_GIVEN))) \
  V5_KERNEL(2, attention_keys_##D##_##S, \
            (const T *qkv, const T *k, const T *v, const T *dy, const float *exponents, const float *alongs, \
             T *dqkv, V5_SIZES), \
            (v5::attention::keys<T, D>(qkv, k, v, dy, exponents, alongs, dqkv, V5_GIVEN)))
#define V5_INSTANCES(S, T) \
  V5_SIZED(S, T, 16) \
  V5_SIZED(S, T, 32) \
  V5_SIZED(S, T, 64) \
  V5_SIZED(S, T, 128) \
  KERNEL(256, attention_merge_##S, \
         (const float *parts, const float *marks, T *y, float *log_sums, unsigned size, unsigned splits, \
          float scale), \
         v5::attention::merge(parts, marks, y, log_sums, size, splits, scale)) \
  KERNEL(256, attention_append_##S, \
         (const T *old_k, const T *old_v, const T *qkv, T *k, T *v, unsigned batch, unsigned width, \
          unsigned time, unsigned past), \
         v5::attention::append(old_k, old_v, qkv, k, v, batch, width, time, past))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
#undef V5_SIZED
#undef V5_GIVEN
#undef V5_SIZES
#undef V5_KERNEL
