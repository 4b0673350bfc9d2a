// Mamba-2's selective state space (Dao & Gu 2024, "Transformers are SSMs", eq. 1; chunks as in §6): per head,
// with state h [N, P], Δ = clamp(softplus(δ + bias), limits), A = −exp(a_log), ln a = Δ·A,
//
//   h ← a·h + B (Δ·x)ᵀ,   y = Cᵀ·h + D·x.
//
// Time is cut into chunks of L = 64 steps. With α[t] = Σ ln a from the chunk's first step to t, H0 the state
// at its start, dH the gradient of the state at its end, S[t,s] = C[t]·B[s], R[t,s] = dy[t]·x[s] and
// E[t,s] = exp(α[t] − α[s]), both where s ≤ t:
//
//   H_end  = exp(α[L]) H0 + Σ_s exp(α[L] − α[s]) Δ[s] B[s] x[s]ᵀ
//   dH0    = exp(α[L]) dH + Σ_t exp(α[t]) C[t] dy[t]ᵀ
//   y[t]   = exp(α[t]) H0ᵀ·C[t] + Σ_s (S∘E)[t,s] Δ[s] x[s] + D x[t]
//   dx[s]  = Δ[s] (exp(α[L] − α[s]) dHᵀ·B[s] + Σ_t (S∘E)[t,s] dy[t]) + D dy[s]
//   dC[t]  = exp(α[t]) H0·dy[t] + Σ_s (E∘R)[t,s] Δ[s] B[s]
//   dB[s]  = exp(α[L] − α[s]) Δ[s] dH·x[s] + Σ_t (E∘R)[t,s] Δ[s] C[t]
//
// and ln a[m] is felt by whatever passes step m: from s < m to t ≥ m, from the start, to the end, and all the
// way through:
//
//   d ln a[m] = Σ_{s<m≤t} (S∘E∘R)[t,s] Δ[s] + Σ_{t≥m} u[t] + Σ_{s<m} Δ[s] v[s] + exp(α[L]) ⟨H0, dH⟩,
//   u[t] = exp(α[t]) C[t]·H0·dy[t],   v[s] = exp(α[L] − α[s]) B[s]·dH·x[s],
//   dΔ[m] = Σ_{t≥m} (S∘E∘R)[t,m] + v[m] + A d ln a[m],   da_log = A Σ Δ d ln a.
//
// The first sum is taken as Σ_{t≥m} (row sums − column sums) of the strict lower triangle, in double where T
// is float: where no step passes anything on, nothing may be left. Every exponent is ≤ 0; α is summed in double
// and kept as two floats, so that neighbours are told apart after a huge step. E∘R is summed over the heads of
// a group before its products with B and C.
//
// T is float or bf16, also of the states kept per chunk. N ≤ 128, P is any.
//
// | kernel | grid | threads | |
// |---|---|---|---|
// | steps | ⌈B·H·chunks/8⌉ | 256 | what depends on δ alone: float [B, H, chunks, 6, 64] |
// | states | B·H, ⌈P/Pt⌉ | 256 | H0: T [B, H, chunks, N, width], and the last state |
// | ends | the same | 256 | dH, from the last chunk to the first |
// | output | B·chunks, G·splits | 128 | y |
// | gradients | B·chunks, G·splits | 256 | all; parts of dB and dC by split, of parameters by chunk |
// | sum | ⌈B·T·G·N/256⌉, 2 | 256 | dB and dC from the splits' |
// | recur | ⌈P/32⌉, H, B | 256 | y and the last state, step by step: for few steps |
// | convolved | ⌈P/32⌉, H, 1 | 256 | the same of one step, from the in-projection on |
//
// chunks = ⌈time/64⌉, width is P rounded up to 8; a split is a share of a group's heads, one after the other in
// one block. Nt = 32, 64 or 128 rows of a state and Pt = 32 or 64 channels are in shared memory at once. Bytes
// there, with |T| those of an element and n, p, q = Nt, Pt, 64 + 16/|T| (padded rows):
//
// | | |
// |---|---|
// | states, ends | k(64(n+p)|T| + 1536) + Nt·p|T|; k = 3 (bf16), 2 (float) |
// | output | 64n|T| + e + max(e, 64n|T|), where e = (64+Nt)p|T| + 1536 |
// | gradients | (128n + 64q + k(128+2Nt)p)|T| + o; k = 2 (1 for 128 x 32), o = 8992 (bf16), k = 1, o = 10528 (float) |
// | recur | 2048 |
// | convolved | 2048 + (32 + 2N)·e |
#include "tile.cuh"
#include "vectors.cuh"

namespace v5::ssd {

constexpr unsigned L = 64;

/// What `steps` leaves of a chunk: rows of L floats.
constexpr unsigned DELTA = 0, SLOPE = L, HIGH = 2 * L, LOW = 3 * L, INTO = 4 * L, FROM = 5 * L, STEPS = 6 * L;

/// ln a below this is as good as this: exp(−110) is 0 in float, and sums of 64 stay finite.
constexpr float FLOOR = -110.0f;

/// From one row in shared memory to the next.
template <class T, unsigned COLUMNS> constexpr unsigned PITCH = COLUMNS + 16 / sizeof(T);

/// Steps of a product at once. float's are long.
template <class T> constexpr int UNROLL = sizeof(T) == 2 ? 2 : 1;

__device__ __forceinline__ unsigned less(unsigned a, unsigned b) { return a > b ? a - b : 0; }

template <class T> __device__ __forceinline__ float decay(float x) {
  if constexpr (sizeof(T) == 2)
    return __expf(x);
  else
    return expf(x);
}

/// Two neighbours; the first has an even column.
template <class T> struct alignas(2 * sizeof(T)) Pair {
  T x, y;
};
template <class T> __device__ __forceinline__ float2 pair(const T *from) {
  Pair<T> both = *reinterpret_cast<const Pair<T> *>(from);
  return make_float2(wide(both.x), wide(both.y));
}
template <class T> __device__ __forceinline__ void put_pair(T *to, float a, float b) {
  *reinterpret_cast<Pair<T> *>(to) = Pair<T>{narrow<T>(a), narrow<T>(b)};
}

/// The block brings ROWS x COLUMNS into shared memory, of which `rows` x `columns` exist; zeros elsewhere.
/// `packed`: rows begin on 16 bytes and `columns` is whole packs. Takes
/// effect after copy_commit, copy_wait and a barrier.
template <unsigned THREADS, unsigned ROWS, unsigned COLUMNS, class T>
__device__ __forceinline__ void fetch(T *to, const T *from, size_t next, unsigned rows, unsigned columns,
                                      bool packed) {
  constexpr unsigned PACK = Pack<T>::N, PACKS = COLUMNS / PACK, ROW = PITCH<T, COLUMNS>;
  if (packed) {
#pragma unroll 2
    for (unsigned i = threadIdx.x; i < ROWS * PACKS; i += THREADS) {
      unsigned row = i / PACKS, column = i % PACKS * PACK;
      bool valid = row < rows && column < columns;
      copy_async(to + row * ROW + column, valid ? from + row * next + column : from, valid);
    }
  } else {
    for (unsigned i = threadIdx.x; i < ROWS * COLUMNS; i += THREADS) {
      unsigned row = i / COLUMNS, column = i % COLUMNS;
      bool valid = row < rows && column < columns;
      to[row * ROW + column] = valid ? from[row * next + column] : narrow<T>(0.0f);
    }
  }
}

/// A warp takes ROWS x COLUMNS from its own part of shared memory to where `rows` x `columns` of them belong.
template <unsigned ROWS, unsigned COLUMNS, class T>
__device__ __forceinline__ void put(T *to, size_t next, const T *from, unsigned row_pitch, unsigned rows,
                                    unsigned columns, bool packed) {
  constexpr unsigned PACK = Pack<T>::N, PACKS = COLUMNS / PACK;
  unsigned lane = threadIdx.x % WARP;
  if (packed) {
#pragma unroll
    for (unsigned i = lane; i < ROWS * PACKS; i += WARP) {
      unsigned row = i / PACKS, column = i % PACKS * PACK;
      if (row < rows && column < columns)
        store_pack(to + row * next + column, load_pack(from + row * row_pitch + column));
    }
  } else {
    for (unsigned i = lane; i < ROWS * COLUMNS; i += WARP) {
      unsigned row = i / COLUMNS, column = i % COLUMNS;
      if (row < rows && column < columns) to[row * next + column] = from[row * row_pitch + column];
    }
  }
}

/// The `steps` of one chunk.
template <unsigned THREADS> __device__ __forceinline__ void fetch_steps(float *to, const float *from) {
  for (unsigned i = threadIdx.x; i < STEPS / 4; i += THREADS) copy_async(to + 4 * i, from + 4 * i);
}

/// Whether rows begin on 16 bytes in every head or group, of `size` columns each.
template <class T> __device__ __forceinline__ bool whole(const T *first, unsigned size) {
  return size % Pack<T>::N == 0 && reinterpret_cast<uintptr_t>(first) % 16 == 0;
}

/// Δ and its slope with respect to δ. NaN passes the comparisons.
__device__ __forceinline__ float2 step_size(float raw, float low, float high) {
  float soft = (raw > 0.0f ? raw : 0.0f) + log1pf(expf(-fabsf(raw)));
  if (soft < low) return make_float2(low, 0.0f);
  if (soft > high) return make_float2(high, 0.0f);
  return make_float2(soft, sigmoid(raw));
}

template <class T>
__device__ void steps(const T *dt, const float *a_log, const float *dt_bias, float *out, unsigned batch,
                      unsigned time, unsigned heads, float low, float high) {
  unsigned chunks = (time + L - 1) / L, lane = threadIdx.x % WARP;
  size_t task = size_t(blockIdx.x) * 8 + threadIdx.x / WARP;
  // lanes of a warp go together
  if (task >= size_t(batch) * heads * chunks) return;
  unsigned chunk = task % chunks, head = task / chunks % heads, b = task / chunks / heads;
  float a = -expf(a_log[head]), bias = dt_bias[head];
  out += task * STEPS;
  double alpha[2];
  for (unsigned i = 0; i < 2; i++) {
    unsigned s = 2 * lane + i, t = chunk * L + s;
    float2 step = make_float2(0.0f, 0.0f);
    float log_decay = 0.0f;
    if (t < time) {
      step = step_size(wide(dt[(size_t(b) * time + t) * heads + head]) + bias, low, high);
      log_decay = step.x * a;
      if (log_decay < FLOOR) log_decay = FLOOR;
    }
    out[DELTA + s] = step.x;
    out[SLOPE + s] = step.y;
    alpha[i] = log_decay;
  }
  alpha[1] += alpha[0];
  double sum = alpha[1];
  for (unsigned by = 1; by < WARP; by *= 2) {
    double other = __shfl_up_sync(ALL, sum, by);
    if (lane >= by) sum += other;
  }
  double before = __shfl_up_sync(ALL, sum, 1), last = __shfl_sync(ALL, sum, 31);
  for (unsigned i = 0; i < 2; i++) {
    unsigned s = 2 * lane + i;
    double x = lane > 0 ? before + alpha[i] : alpha[i];
    float top = float(x);
    out[HIGH + s] = top;
    out[LOW + s] = float(x - top);
    out[INTO + s] = expf(float(last - x));
    out[FROM + s] = expf(top);
  }
}

/// The state over the chunks, of one head and Pt channels. BACK: its gradient, from the end.
/// `edges` gets it as each chunk meets it, before the chunk's own part.
template <class T, unsigned NT, unsigned PT, bool BACK>
__device__ void scan(const T *map, const T *x, const float *steps, const float *start, T *edges, float *last,
                     unsigned time, unsigned heads, unsigned groups, unsigned size, unsigned state) {
  constexpr unsigned NS = PITCH<T, NT>, PS = PITCH<T, PT>, STAGES = sizeof(T) == 2 ? 3 : 2;
  constexpr unsigned DOWN = NT >= 64 ? 4 : 2, ACROSS = 8 / DOWN, ROWS = NT / DOWN, COLUMNS = PT / ACROSS;
  constexpr unsigned I = ROWS / 16, J = COLUMNS / 8;
  SHARED(raw);
  constexpr unsigned STAGE = L * (NS + PS) * sizeof(T) + STEPS * sizeof(float);
  T *out = reinterpret_cast<T *>(raw + STAGES * STAGE);

  unsigned chunks = (time + L - 1) / L, width = (size + 7) / 8 * 8;
  unsigned head = blockIdx.x % heads, b = blockIdx.x / heads, group = head / (heads / groups);
  unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
  unsigned row = warp / ACROSS * ROWS, column = warp % ACROSS * COLUMNS, first = blockIdx.y * PT;

  bool map_packed = whole(map, state), x_packed = whole(x, size);
  map += size_t(b) * time * groups * state + group * state;
  x += size_t(b) * time * heads * size + head * size + first;
  steps += size_t(blockIdx.x) * chunks * STEPS;
  edges += size_t(blockIdx.x) * chunks * state * width + first;
  unsigned columns = size - first;
  auto nth = [&](unsigned i) { return BACK ? chunks - 1 - i : i; };
  auto bring = [&](unsigned i) {
    if (i < chunks) {
      unsigned char *stage = raw + i % STAGES * STAGE;
      T *to = reinterpret_cast<T *>(stage);
      unsigned at = nth(i) * L, rows = time - at;
      size_t map_next = size_t(groups) * state, x_next = size_t(heads) * size;
      float *step = reinterpret_cast<float *>(stage + L * (NS + PS) * sizeof(T));
      fetch<256, L, NT>(to, map + at * map_next, map_next, rows, state, map_packed);
      fetch<256, L, PT>(to + L * NS, x + at * x_next, x_next, rows, columns, x_packed);
      fetch_steps<256>(step, steps + size_t(nth(i)) * STEPS);
    }
    copy_commit();
  };
#pragma unroll
  for (unsigned i = 0; i + 1 < STAGES; i++) bring(i);

  // element e of tile (i, j)
  auto n_of = [&](unsigned i, unsigned e) { return row + 16 * i + g + e / 2 * 8; };
  auto p_of = [&](unsigned j, unsigned e) { return column + 8 * j + 2 * t + e % 2; };
  float h[I][J][4];
  size_t whose = size_t(blockIdx.x) * state;
#pragma unroll
  for (unsigned i = 0; i < I; i++)
#pragma unroll
    for (unsigned j = 0; j < J; j++)
#pragma unroll
      for (unsigned e = 0; e < 4; e++) {
        unsigned n = n_of(i, e), p = p_of(j, e);
        h[i][j][e] = !BACK && n < state && p < columns ? start[(whose + n) * size + first + p] : 0.0f;
      }

  for (unsigned c = 0; c < chunks; c++) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    bring(c + STAGES - 1);
    const unsigned char *stage = raw + c % STAGES * STAGE;
    const T *maps = reinterpret_cast<const T *>(stage), *lanes = maps + L * NS;
    const float *step = reinterpret_cast<const float *>(stage + L * (NS + PS) * sizeof(T));

#pragma unroll
    for (unsigned i = 0; i < I; i++)
#pragma unroll
      for (unsigned j = 0; j < J; j++) {
        T *to = out + n_of(i, 0) * PS + p_of(j, 0);
        put_pair(to, h[i][j][0], h[i][j][1]);
        put_pair(to + 8 * PS, h[i][j][2], h[i][j][3]);
      }
    __syncwarp();
    put<ROWS, COLUMNS>(edges + size_t(nth(c)) * state * width + size_t(row) * width + column, width,
                       out + row * PS + column, PS, less(state, row), less(width - first, column), true);

    float across = step[FROM + L - 1];
#pragma unroll
    for (unsigned i = 0; i < I; i++)
#pragma unroll
      for (unsigned j = 0; j < J; j++)
#pragma unroll
        for (unsigned e = 0; e < 4; e++) h[i][j][e] *= across;
#pragma unroll(UNROLL<T>)
    for (unsigned k = 0; k < L; k += 16) {
      float scale[4];
#pragma unroll
      for (unsigned e = 0; e < 4; e++) {
        unsigned s = k + 2 * t + e / 2 * 8 + e % 2;
        scale[e] = BACK ? step[FROM + s] : step[INTO + s] * step[DELTA + s];
      }
      TileA<T> left[I];
#pragma unroll
      for (unsigned i = 0; i < I; i++) load_turned(left[i], maps + k * NS + row + 16 * i, NS);
#pragma unroll
      for (unsigned j = 0; j < J; j++) {
        TileB<T> right;
        load_turned(right, lanes + k * PS + column + 8 * j, PS);
#pragma unroll
        for (unsigned e = 0; e < 4; e++) right.x[e] = narrow<T>(wide(right.x[e]) * scale[e]);
#pragma unroll
        for (unsigned i = 0; i < I; i++) multiply(h[i][j], left[i], right);
      }
    }
  }
  if constexpr (!BACK) {
#pragma unroll
    for (unsigned i = 0; i < I; i++)
#pragma unroll
      for (unsigned j = 0; j < J; j++)
#pragma unroll
        for (unsigned e = 0; e < 4; e++) {
          unsigned n = n_of(i, e), p = p_of(j, e);
          if (n < state && p < columns) last[(whose + n) * size + first + p] = h[i][j][e];
        }
  }
}

/// The heads of a split, tile after tile: unit u is tile u % tiles of head first + u / tiles.
struct Share {
  unsigned b, chunk, chunks, group, head, units, tiles, rows, width;
  size_t row;
  __device__ Share(unsigned time, unsigned heads, unsigned groups, unsigned size, unsigned splits,
                   unsigned tile) {
    chunks = (time + L - 1) / L;
    chunk = blockIdx.x % chunks;
    b = blockIdx.x / chunks;
    group = blockIdx.y / splits;
    unsigned split = blockIdx.y % splits, of_group = heads / groups, share = (of_group + splits - 1) / splits;
    unsigned from = min(split * share, of_group), to = min(from + share, of_group);
    head = group * of_group + from;
    tiles = (size + tile - 1) / tile;
    units = (to - from) * tiles;
    rows = min(time - chunk * L, L);
    row = size_t(b) * time + chunk * L;
    width = (size + 7) / 8 * 8;
  }
};

template <class T, unsigned NT, unsigned PT>
__device__ void output(const T *x, const T *maps_in, const T *maps_out, const float *steps, const T *starts,
                       const float *d, T *y, unsigned time, unsigned heads, unsigned groups, unsigned size,
                       unsigned state, unsigned splits) {
  constexpr unsigned NS = PITCH<T, NT>, PS = PITCH<T, PT>, J = PT / 8;
  constexpr unsigned STAGE = (L + NT) * PS * sizeof(T) + STEPS * sizeof(float);
  SHARED(raw);
  Share me(time, heads, groups, size, splits, PT);
  unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, row = 16 * warp;

  // B is needed before the second stage is filled, and not after
  T *c = reinterpret_cast<T *>(raw);
  unsigned char *stages = raw + L * NS * sizeof(T);
  bool packed = whole(x, size);
  T *b = reinterpret_cast<T *>(stages + STAGE);
  auto bring = [&](unsigned u) {
    if (u < me.units) {
      unsigned head = me.head + u / me.tiles, first = u % me.tiles * PT;
      size_t task = (size_t(me.b) * heads + head) * me.chunks + me.chunk;
      T *to = reinterpret_cast<T *>(stages + u % 2 * STAGE);
      fetch<128, L, PT>(to, x + me.row * heads * size + head * size + first, size_t(heads) * size, me.rows,
                        size - first, packed);
      fetch<128, NT, PT>(to + L * PS, starts + task * state * me.width + first, me.width, state,
                         me.width - first, true);
      fetch_steps<128>(reinterpret_cast<float *>(to + (L + NT) * PS), steps + task * STEPS);
    }
    copy_commit();
  };
  size_t at = me.row * groups * state + me.group * state;
  fetch<128, L, NT>(c, maps_out + at, size_t(groups) * state, me.rows, state, whole(maps_out, state));
  fetch<128, L, NT>(b, maps_in + at, size_t(groups) * state, me.rows, state, whole(maps_in, state));
  bring(0);
  copy_wait<0>();
  __syncthreads();

  // 16 rows of S
  float s[8][4] = {};
#pragma unroll(UNROLL<T>)
  for (unsigned k = 0; k < NT; k += 16) {
    TileA<T> left;
    load(left, c + row * NS + k, NS);
#pragma unroll
    for (unsigned j = 0; j < 8; j++) {
      if (j / 2 > warp) continue;
      TileB<T> right;
      load(right, b + 8 * j * NS + k, NS);
      multiply(s[j], left, right);
    }
  }

  for (unsigned u = 0; u < me.units; u++) {
    copy_wait<0>();
    __syncthreads();
    bring(u + 1);
    T *xs = reinterpret_cast<T *>(stages + u % 2 * STAGE);
    const T *starts = xs + L * PS;
    const float *step = reinterpret_cast<const float *>(starts + NT * PS);
    unsigned head = me.head + u / me.tiles, first = u % me.tiles * PT;

    float sum[J][4] = {};
#pragma unroll(UNROLL<T>)
    for (unsigned k = 0; k < NT; k += 16) {
      TileA<T> left;
      load(left, c + row * NS + k, NS);
#pragma unroll
      for (unsigned j = 0; j < J; j++) {
        TileB<T> right;
        load_turned(right, starts + k * PS + 8 * j, PS);
        multiply(sum[j], left, right);
      }
    }
    float from[2] = {step[FROM + row + g], step[FROM + row + g + 8]};
    float high[2] = {step[HIGH + row + g], step[HIGH + row + g + 8]};
    float low[2] = {step[LOW + row + g], step[LOW + row + g + 8]};
#pragma unroll
    for (unsigned j = 0; j < J; j++)
#pragma unroll
      for (unsigned e = 0; e < 4; e++) sum[j][e] *= from[e / 2];
#pragma unroll
    for (unsigned k = 0; k < 4; k++) {
      if (k > warp) continue;
      float m[2][4];
#pragma unroll
      for (unsigned j = 0; j < 2; j++) {
        unsigned earlier = 16 * k + 8 * j + 2 * t;
        float2 delta = pair(step + DELTA + earlier);
        float2 top = pair(step + HIGH + earlier), rest = pair(step + LOW + earlier);
#pragma unroll
        for (unsigned e = 0; e < 4; e++) {
          float past = e % 2 ? top.y : top.x, past_rest = e % 2 ? rest.y : rest.x;
          float x = (high[e / 2] - past) + (low[e / 2] - past_rest);
          bool seen = earlier + e % 2 <= row + g + e / 2 * 8;
          m[j][e] = seen ? s[2 * k + j][e] * decay<T>(x) * (e % 2 ? delta.y : delta.x) : 0.0f;
        }
      }
      TileA<T> left = as_left<T>(m[0], m[1]);
#pragma unroll
      for (unsigned j = 0; j < J; j++) {
        TileB<T> right;
        load_turned(right, xs + 16 * k * PS + 8 * j, PS);
        multiply(sum[j], left, right);
      }
    }
    // y leaves through where x was
    __syncthreads();
    float skip = d[head];
#pragma unroll
    for (unsigned j = 0; j < J; j++)
#pragma unroll
      for (unsigned e = 0; e < 4; e += 2) {
        T *to = xs + (row + g + e / 2 * 8) * PS + 8 * j + 2 * t;
        float2 x = pair(to);
        put_pair(to, fmaf(skip, x.x, sum[j][e]), fmaf(skip, x.y, sum[j][e + 1]));
      }
    __syncwarp();
    put<16, PT>(y + (me.row + row) * heads * size + head * size + first, size_t(heads) * size, xs + row * PS, PS,
                less(me.rows, row), size - first, whole(y, size));
  }
}

/// One of dB and dC: sum += scale·(lanes·edgeᵀ) by rows, and dot += map·(lanes·edgeᵀ) row by row.
template <class T, unsigned NT, unsigned PT>
__device__ __forceinline__ void side(float (&sum)[2][NT / 32][4], float (&dot)[4], const float (&scale)[4],
                                     const T *lanes, const T *edge, const T *map, unsigned row, unsigned column) {
  constexpr unsigned NS = PITCH<T, NT>, PS = PITCH<T, PT>, J = NT / 32;
  unsigned lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
  float part[2][J][4] = {};
  // two by J products at once are enough, and more operands would not fit the registers
#pragma unroll 1
  for (unsigned k = 0; k < PT; k += 16) {
    TileA<T> left[2];
    load(left[0], lanes + row * PS + k, PS);
    load(left[1], lanes + (row + 16) * PS + k, PS);
#pragma unroll
    for (unsigned j = 0; j < J; j++) {
      TileB<T> right;
      load(right, edge + (column + 8 * j) * PS + k, PS);
      multiply(part[0][j], left[0], right);
      multiply(part[1][j], left[1], right);
    }
  }
#pragma unroll
  for (unsigned i = 0; i < 2; i++)
#pragma unroll
    for (unsigned j = 0; j < J; j++)
#pragma unroll
      for (unsigned e = 0; e < 4; e += 2) {
        unsigned q = 2 * i + e / 2;
        float2 m = pair(map + (row + 16 * i + g + e / 2 * 8) * NS + column + 8 * j + 2 * t);
        dot[q] = fmaf(m.x, part[i][j][e], fmaf(m.y, part[i][j][e + 1], dot[q]));
        sum[i][j][e] = fmaf(scale[q], part[i][j][e], sum[i][j][e]);
        sum[i][j][e + 1] = fmaf(scale[q], part[i][j][e + 1], sum[i][j][e + 1]);
      }
}

/// What the warps tell each other of a head: floats, then Sums.
constexpr unsigned AT_U = 0, AT_V = 4 * L, AT_DIAGONAL = 8 * L, AT_MAPS = 10 * L, AT_EDGES = 11 * L,
                   AT_SUMS = 11 * L + 8, AT_ROWS = 0, AT_COLUMNS = 4 * L;

/// Sums which cancel.
template <class T> struct Sum;
template <> struct Sum<float> {
  typedef double Type;
};
template <> struct Sum<bf16> {
  typedef float Type;
};

template <class T, unsigned NT, unsigned PT>
__device__ void gradients(const T *dy, const T *x, const T *maps_in, const T *maps_out, const float *steps,
                          const T *starts, const T *ends, const float *a_log, const float *d, T *dx, T *ddt,
                          float *db, float *dc, float *parameters, unsigned time, unsigned heads, unsigned groups,
                          unsigned size, unsigned state, unsigned splits) {
  constexpr unsigned NS = PITCH<T, NT>, PS = PITCH<T, PT>, LS = PITCH<T, L>;
  // With few channels of a large state, one: it is for cards that have no room for two.
  constexpr unsigned STAGES = sizeof(T) == 2 && (NT < 128 || PT > 32) ? 2 : 1;
  constexpr unsigned STAGE = (2 * L + 2 * NT) * PS, J = NT / 32, JX = PT / 32;
  SHARED(raw);
  T *b = reinterpret_cast<T *>(raw), *c = b + L * NS, *m = c + L * NS, *stages = m + L * LS;
  float *step_rooms = reinterpret_cast<float *>(stages + STAGES * STAGE), *notes = step_rooms + 3 * STEPS;
  typedef typename Sum<T>::Type Long;
  Long *sums = reinterpret_cast<Long *>(notes + AT_SUMS);

  Share me(time, heads, groups, size, splits, PT);
  unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
  // Each warp has 32 rows, and a quarter of the columns of whatever it makes: its column and row of the lower
  // triangle's 64 x 64, of N and of P.
  unsigned row = warp / 4 * 32, quarter = warp % 4, column = quarter * 16;
  bool seen = column < row + 32, x_packed = whole(x, size), dy_packed = whole(dy, size);

  auto bring = [&](unsigned u) {
    if (u < me.units) {
      unsigned head = me.head + u / me.tiles, first = u % me.tiles * PT;
      size_t task = (size_t(me.b) * heads + head) * me.chunks + me.chunk;
      size_t at = me.row * heads * size + head * size + first, edge = task * state * me.width + first;
      T *to = stages + u % STAGES * STAGE;
      fetch<256, L, PT>(to, x + at, size_t(heads) * size, me.rows, size - first, x_packed);
      fetch<256, L, PT>(to + L * PS, dy + at, size_t(heads) * size, me.rows, size - first, dy_packed);
      fetch<256, NT, PT>(to + 2 * L * PS, starts + edge, me.width, state, me.width - first, true);
      fetch<256, NT, PT>(to + (2 * L + NT) * PS, ends + edge, me.width, state, me.width - first, true);
      fetch_steps<256>(step_rooms + u % 3 * STEPS, steps + task * STEPS);
    }
    copy_commit();
  };
  // What a head's parts amount to, by one warp, once all of them have left their notes; `u` is its last unit.
  auto finish = [&](unsigned u) {
    unsigned head = me.head + u / me.tiles;
    const float *step = step_rooms + u % 3 * STEPS;
    const float *diagonal = notes + AT_DIAGONAL + u / me.tiles % 2 * L;
    float a = -expf(a_log[head]), all = 0.0f, direct[2], leaving[2], delta[2];
    Long passing[2];
    for (unsigned w = 0; w < 8; w++) all += notes[AT_EDGES + w];
    all *= step[FROM + L - 1];
    for (unsigned i = 0; i < 2; i++) {
      unsigned s = 2 * lane + i;
      auto four = [&](auto *from) { return (from[s] + from[L + s]) + (from[2 * L + s] + from[3 * L + s]); };
      delta[i] = step[DELTA + s];
      Long rows = four(sums + AT_ROWS), columns = sums[AT_COLUMNS + s] + sums[AT_COLUMNS + L + s];
      float u = four(notes + AT_U) * step[FROM + s], v = four(notes + AT_V) * step[INTO + s];
      direct[i] = float(columns) + notes[AT_MAPS + s] * diagonal[s] + v;
      passing[i] = rows - Long(delta[i]) * columns + Long(u);
      leaving[i] = delta[i] * v;
    }
    // Σ_{t≥m} and Σ_{s<m}
    Long later = passing[0] + passing[1];
    float earlier = leaving[0] + leaving[1];
    for (unsigned by = 1; by < WARP; by *= 2) {
      Long after = __shfl_down_sync(ALL, later, by);
      float before = __shfl_up_sync(ALL, earlier, by);
      if (lane + by < WARP) later += after;
      if (lane >= by) earlier += before;
    }
    Long after = __shfl_down_sync(ALL, later, 1);
    float before = __shfl_up_sync(ALL, earlier, 1);
    if (lane == 31) after = 0;
    if (lane == 0) before = 0.0f;
    float log_decay[2] = {float(passing[0] + (passing[1] + after)) + before + all,
                          float(passing[1] + after) + (before + leaving[0]) + all};
    float to_log = 0.0f, to_bias = 0.0f, to_skip = 0.0f;
    for (unsigned i = 0; i < 2; i++) {
      unsigned s = 2 * lane + i;
      if (s >= me.rows) continue;
      float raw = (direct[i] + a * log_decay[i]) * step[SLOPE + s];
      ddt[(me.row + s) * heads + head] = narrow<T>(raw);
      to_log += delta[i] * log_decay[i];
      to_bias += raw;
      to_skip += diagonal[s];
    }
    to_log = warp_sum(to_log), to_bias = warp_sum(to_bias), to_skip = warp_sum(to_skip);
    if (lane == 0) {
      float *to = parameters + size_t(blockIdx.x) * 3 * heads + head;
      to[0] = a * to_log;
      to[heads] = to_bias;
      to[2 * heads] = to_skip;
    }
  };

  size_t at = me.row * groups * state + me.group * state;
  fetch<256, L, NT>(b, maps_in + at, size_t(groups) * state, me.rows, state, whole(maps_in, state));
  fetch<256, L, NT>(c, maps_out + at, size_t(groups) * state, me.rows, state, whole(maps_out, state));
  if constexpr (STAGES == 2)
    bring(0);
  else
    copy_commit();
  copy_wait<0>();
  __syncthreads();

  // S, and Σ over heads of E∘R∘Δ
  float s[2][2][4] = {}, pairs[2][2][4] = {};
  if (seen) {
#pragma unroll(UNROLL<T>)
    for (unsigned k = 0; k < NT; k += 16) {
      TileA<T> left[2];
      load(left[0], c + row * NS + k, NS);
      load(left[1], c + (row + 16) * NS + k, NS);
#pragma unroll
      for (unsigned j = 0; j < 2; j++) {
        TileB<T> right;
        load(right, b + (column + 8 * j) * NS + k, NS);
        multiply(s[0][j], left[0], right);
        multiply(s[1][j], left[1], right);
      }
    }
#pragma unroll
    for (unsigned i = 0; i < 2; i++)
#pragma unroll
      for (unsigned j = 0; j < 2; j++)
#pragma unroll
        for (unsigned e = 0; e < 4; e++) {
          unsigned later = row + 16 * i + g + e / 2 * 8, earlier = column + 8 * j + 2 * t + e % 2;
          if (later == earlier) notes[AT_MAPS + later] = s[i][j][e];
        }
  }

  float sum_c[2][J][4] = {}, sum_b[2][J][4] = {};
  Long row_sum[4] = {}, column_sum[4] = {};
  float u_sum[4] = {}, v_sum[4] = {}, edge_sum = 0.0f;
  for (unsigned u = 0;; u++) {
    if constexpr (STAGES == 2) {
      copy_wait<0>();
      __syncthreads();
      bring(u + 1);
    } else {
      __syncthreads();
      bring(u);
      copy_wait<0>();
      __syncthreads();
    }
    // in the upper triangle's shadow
    if (warp == 3 && u > 0 && u % me.tiles == 0) finish(u - 1);
    if (u == me.units) break;
    T *xs = stages + u % STAGES * STAGE;
    const T *dys = xs + L * PS, *start = dys + L * PS, *end = start + NT * PS;
    const float *step = step_rooms + u % 3 * STEPS;
    unsigned head = me.head + u / me.tiles, tile = u % me.tiles, first = tile * PT;
    float *diagonal = notes + AT_DIAGONAL + u / me.tiles % 2 * L;
    if (tile == 0) {
      edge_sum = 0.0f;
#pragma unroll
      for (unsigned q = 0; q < 4; q++) row_sum[q] = column_sum[q] = 0, u_sum[q] = v_sum[q] = 0.0f;
    }
    // q-th of this thread's rows
    auto row_of = [&](unsigned q) { return row + 16 * (q / 2) + g + q % 2 * 8; };

    if (seen) {
      float r[2][2][4] = {};
#pragma unroll(UNROLL<T>)
      for (unsigned k = 0; k < PT; k += 16) {
        TileA<T> left[2];
        load(left[0], dys + row * PS + k, PS);
        load(left[1], dys + (row + 16) * PS + k, PS);
#pragma unroll
        for (unsigned j = 0; j < 2; j++) {
          TileB<T> right;
          load(right, xs + (column + 8 * j) * PS + k, PS);
          multiply(r[0][j], left[0], right);
          multiply(r[1][j], left[1], right);
        }
      }
#pragma unroll
      for (unsigned j = 0; j < 2; j++) {
        unsigned at = column + 8 * j + 2 * t;
        float2 size_of = pair(step + DELTA + at), top = pair(step + HIGH + at), rest = pair(step + LOW + at);
#pragma unroll
        for (unsigned i = 0; i < 2; i++) {
          float weight[4];
#pragma unroll
          for (unsigned e = 0; e < 4; e++) {
            unsigned later = row_of(2 * i + e / 2), earlier = at + e % 2;
            float past = e % 2 ? top.y : top.x, past_rest = e % 2 ? rest.y : rest.x;
            float size = e % 2 ? size_of.y : size_of.x;
            weight[e] = 0.0f;
            if (earlier <= later) {
              float passed = decay<T>((step[HIGH + later] - past) + (step[LOW + later] - past_rest));
              weight[e] = s[i][j][e] * passed;
              pairs[i][j][e] += passed * size * r[i][j][e];
              if (earlier < later) {
                Long both = weight[e] * r[i][j][e];
                row_sum[2 * i + e / 2] += both * Long(size);
                column_sum[2 * j + e % 2] += both;
              } else {
                diagonal[later] = tile == 0 ? r[i][j][e] : diagonal[later] + r[i][j][e];
              }
            }
          }
          put_pair(m + row_of(2 * i) * LS + at, weight[0], weight[1]);
          put_pair(m + row_of(2 * i + 1) * LS + at, weight[2], weight[3]);
        }
      }
    }

    unsigned map = quarter * (NT / 4);
    float scale[4];
#pragma unroll
    for (unsigned q = 0; q < 4; q++) scale[q] = step[FROM + row_of(q)];
    side<T, NT, PT>(sum_c, u_sum, scale, dys, start, c, row, map);
#pragma unroll
    for (unsigned q = 0; q < 4; q++) scale[q] = step[INTO + row_of(q)] * step[DELTA + row_of(q)];
    side<T, NT, PT>(sum_b, v_sum, scale, xs, end, b, row, map);
    constexpr unsigned PACK = Pack<T>::N, PACKS = PT / PACK;
#pragma unroll 1
    for (unsigned i = threadIdx.x; i < NT * PACKS; i += 256) {
      unsigned at = i / PACKS * PS + i % PACKS * PACK;
      Pack<T> p = load_pack(start + at), q = load_pack(end + at);
#pragma unroll
      for (unsigned e = 0; e < PACK; e++) edge_sum = fmaf(wide(p.x[e]), wide(q.x[e]), edge_sum);
    }
    __syncthreads();

    float sum[2][JX][4] = {};
    unsigned channel = quarter * (PT / 4);
#pragma unroll(UNROLL<T>)
    for (unsigned k = 0; k < NT; k += 16) {
      TileA<T> left[2];
      load(left[0], b + row * NS + k, NS);
      load(left[1], b + (row + 16) * NS + k, NS);
#pragma unroll
      for (unsigned j = 0; j < JX; j++) {
        TileB<T> right;
        load_turned(right, end + k * PS + channel + 8 * j, PS);
        multiply(sum[0][j], left[0], right);
        multiply(sum[1][j], left[1], right);
      }
    }
#pragma unroll
    for (unsigned i = 0; i < 2; i++)
#pragma unroll
      for (unsigned j = 0; j < JX; j++)
#pragma unroll
        for (unsigned e = 0; e < 4; e++) sum[i][j][e] *= step[INTO + row_of(2 * i + e / 2)];
#pragma unroll(UNROLL<T>)
    for (unsigned k = 0; k < L; k += 16) {
      if (k < row) continue;
      TileA<T> left[2];
      load_turned(left[0], m + k * LS + row, LS);
      load_turned(left[1], m + k * LS + row + 16, LS);
#pragma unroll
      for (unsigned j = 0; j < JX; j++) {
        TileB<T> right;
        load_turned(right, dys + k * PS + channel + 8 * j, PS);
        multiply(sum[0][j], left[0], right);
        multiply(sum[1][j], left[1], right);
      }
    }
    // x is not needed any more: dx leaves through where it was
    float skip = d[head];
#pragma unroll
    for (unsigned i = 0; i < 2; i++)
#pragma unroll
      for (unsigned j = 0; j < JX; j++)
#pragma unroll
        for (unsigned e = 0; e < 4; e += 2) {
          unsigned r = row_of(2 * i + e / 2), at = r * PS + channel + 8 * j + 2 * t;
          float2 direct = pair(dys + at);
          float delta = step[DELTA + r];
          put_pair(xs + at, fmaf(delta, sum[i][j][e], skip * direct.x),
                   fmaf(delta, sum[i][j][e + 1], skip * direct.y));
        }
    __syncwarp();
    put<32, PT / 4>(dx + (me.row + row) * heads * size + head * size + first + channel, size_t(heads) * size,
                    xs + row * PS + channel, PS, less(me.rows, row), less(size - first, channel), whole(dx, size));

    if (tile + 1 == me.tiles) {
#pragma unroll
      for (unsigned q = 0; q < 4; q++) {
        Long of_row = row_sum[q], of_column = column_sum[q];
        float of_u = u_sum[q], of_v = v_sum[q];
        for (unsigned mask = 1; mask < 4; mask *= 2) {
          of_row += __shfl_xor_sync(ALL, of_row, mask);
          of_u += __shfl_xor_sync(ALL, of_u, mask);
          of_v += __shfl_xor_sync(ALL, of_v, mask);
        }
        for (unsigned mask = 4; mask < 32; mask *= 2) of_column += __shfl_xor_sync(ALL, of_column, mask);
        if (t == 0) {
          sums[AT_ROWS + quarter * L + row_of(q)] = of_row;
          notes[AT_U + quarter * L + row_of(q)] = of_u;
          notes[AT_V + quarter * L + row_of(q)] = of_v;
        }
        if (g == 0) sums[AT_COLUMNS + row / 32 * L + column + q / 2 * 8 + 2 * t + q % 2] = of_column;
      }
      float of_edges = warp_sum(edge_sum);
      if (lane == 0) notes[AT_EDGES + warp] = of_edges;
    }
  }

  // dC += pairs·B, dB += pairsᵀ·C
  if (seen) {
#pragma unroll
    for (unsigned i = 0; i < 2; i++)
#pragma unroll
      for (unsigned j = 0; j < 2; j++) {
        T *to = m + (row + 16 * i + g) * LS + column + 8 * j + 2 * t;
        put_pair(to, pairs[i][j][0], pairs[i][j][1]);
        put_pair(to + 8 * LS, pairs[i][j][2], pairs[i][j][3]);
      }
  }
  __syncthreads();
  unsigned map = quarter * (NT / 4);
#pragma unroll(UNROLL<T>)
  for (unsigned k = 0; k < L; k += 16) {
    if (k < row + 32) {
      TileA<T> left[2];
      load(left[0], m + row * LS + k, LS);
      load(left[1], m + (row + 16) * LS + k, LS);
#pragma unroll
      for (unsigned j = 0; j < J; j++) {
        TileB<T> right;
        load_turned(right, b + k * NS + map + 8 * j, NS);
        multiply(sum_c[0][j], left[0], right);
        multiply(sum_c[1][j], left[1], right);
      }
    }
    if (k >= row) {
      TileA<T> left[2];
      load_turned(left[0], m + k * LS + row, LS);
      load_turned(left[1], m + k * LS + row + 16, LS);
#pragma unroll
      for (unsigned j = 0; j < J; j++) {
        TileB<T> right;
        load_turned(right, c + k * NS + map + 8 * j, NS);
        multiply(sum_b[0][j], left[0], right);
        multiply(sum_b[1][j], left[1], right);
      }
    }
  }
  size_t rows = size_t(gridDim.x / me.chunks) * time;
  at = (blockIdx.y % splits * rows + me.row) * groups * state + me.group * state;
#pragma unroll
  for (unsigned i = 0; i < 2; i++)
#pragma unroll
    for (unsigned j = 0; j < J; j++)
#pragma unroll
      for (unsigned e = 0; e < 4; e++) {
        unsigned r = row + 16 * i + g + e / 2 * 8, n = map + 8 * j + 2 * t + e % 2;
        if (r >= me.rows || n >= state) continue;
        size_t to = at + size_t(r) * groups * state + n;
        dc[to] = sum_c[i][j][e];
        db[to] = sum_b[i][j][e];
      }
}

/// dB and dC are the sums of the splits'.
template <class T>
__device__ void sum(const float *db_parts, const float *dc_parts, T *db, T *dc, unsigned rows, unsigned columns,
                    unsigned splits) {
  const float *parts = blockIdx.y ? dc_parts : db_parts;
  T *to = blockIdx.y ? dc : db;
  size_t count = size_t(rows) * columns, i = size_t(blockIdx.x) * 256 + threadIdx.x;
  if (i >= count) return;
  float total = parts[i];
  for (unsigned split = 1; split < splits; split++) total += parts[split * count + i];
  to[i] = narrow<T>(total);
}

/// What a step of a head reads: its raw step size, the channel's input, and both maps.
template <class T> struct Step {
  T dt, x;
  const T *into, *from;
};

/// One step after the other, 32 channels of a head: warp w has the state's rows w, w + 8, ... `steps` gives the Step of
/// a row and a channel of the head.
template <class T, class F>
__device__ __forceinline__ void recur(F steps, const float *a_log, const float *dt_bias, const float *d,
                                      const float *start, T *y, float *last, unsigned time, unsigned heads,
                                      unsigned size, unsigned state, float low, float high) {
  constexpr unsigned K = 16;
  SHARED(raw);
  float *parts = reinterpret_cast<float *>(raw);
  unsigned head = blockIdx.y, b = blockIdx.z;
  unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, p = blockIdx.x * 32 + lane;
  float a = -expf(a_log[head]), bias = dt_bias[head], skip = d[head];
  size_t whose = (size_t(b) * heads + head) * state;
  float h[K];
#pragma unroll
  for (unsigned k = 0; k < K; k++) {
    unsigned n = warp + 8 * k;
    h[k] = n < state && p < size ? start[(whose + n) * size + p] : 0.0f;
  }
  for (unsigned t = 0; t < time; t++) {
    size_t row = size_t(b) * time + t;
    Step<T> step = steps(row, p);
    float delta = step_size(wide(step.dt) + bias, low, high).x, kept = expf(delta * a);
    float value = wide(step.x), input = delta * value, sum = 0.0f;
#pragma unroll
    for (unsigned k = 0; k < K; k++) {
      unsigned n = warp + 8 * k;
      if (n >= state) continue;
      h[k] = fmaf(kept, h[k], wide(step.into[n]) * input);
      sum = fmaf(wide(step.from[n]), h[k], sum);
    }
    // the other half is still being read
    float *now = parts + t % 2 * 256;
    now[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && p < size) {
      float total = skip * value;
#pragma unroll
      for (unsigned w = 0; w < 8; w++) total += now[w * WARP + lane];
      y[row * heads * size + head * size + p] = narrow<T>(total);
    }
  }
#pragma unroll
  for (unsigned k = 0; k < K; k++) {
    unsigned n = warp + 8 * k;
    if (n < state && p < size) last[(whose + n) * size + p] = h[k];
  }
}

/// The same of steps that lie in memory.
template <class T>
__device__ void recur(const T *x, const T *dt, const T *maps_in, const T *maps_out, const float *a_log,
                      const float *dt_bias, const float *d, const float *start, T *y, float *last, unsigned time,
                      unsigned heads, unsigned groups, unsigned size, unsigned state, float low, float high) {
  unsigned head = blockIdx.y, group = head / (heads / groups);
  auto steps = [=](size_t row, unsigned p) {
    size_t at = (row * groups + group) * state;
    T value = p < size ? x[(row * heads + head) * size + p] : narrow<T>(0.0f);
    return Step<T>{dt[row * heads + head], value, maps_in + at, maps_out + at};
  };
  recur<T>(steps, a_log, dt_bias, d, start, y, last, time, heads, size, state, low, high);
}

/// One step of one sequence from the in-projection z, x, B, C, δ on: every block makes the convolution with SiLU of what
/// it reads of x, B and C, rounded as if it had been stored. Whose x it is, and of B and C a group's first block, writes
/// the new tail.
template <class T>
__device__ void convolved(const T *all, const float *w, const float *wb, const T *tail, const float *a_log,
                          const float *dt_bias, const float *d, const float *start, T *after, T *y, float *last,
                          unsigned heads, unsigned groups, unsigned size, unsigned state, unsigned taps, float low,
                          float high) {
  SHARED(raw);
  T *own = reinterpret_cast<T *>(raw + 2 * 256 * sizeof(float));
  unsigned head = blockIdx.y, shared_by = heads / groups, group = head / shared_by;
  unsigned inner = heads * size, maps = groups * state, channels = inner + 2 * maps;
  const T *x = all + inner, *dt = x + channels;
  for (unsigned i = threadIdx.x; i < WARP + 2 * state; i += blockDim.x) {
    unsigned p = blockIdx.x * WARP + i, map = i - WARP, channel = head * size + p;
    bool writes = true;
    if (i >= WARP) {
      channel = inner + group * state + (map < state ? map : maps + map - state);
      writes = blockIdx.x == 0 && head % shared_by == 0;
    } else if (p >= size) {
      continue;
    }
    const float *filter = w + size_t(channel) * taps;
    float z = wb[channel];
    for (unsigned j = 0; j < taps; j++) {
      T now = j + 1 < taps ? tail[size_t(j) * channels + channel] : x[channel];
      z += filter[j] * wide(now);
      if (writes && j > 0) after[size_t(j - 1) * channels + channel] = now;
    }
    own[i] = narrow<T>(silu<T>(z));
  }
  __syncthreads();
  auto steps = [=](size_t, unsigned p) {
    T value = p < size ? own[threadIdx.x % WARP] : narrow<T>(0.0f);
    return Step<T>{dt[head], value, own + WARP, own + WARP + state};
  };
  recur<T>(steps, a_log, dt_bias, d, start, y, last, 1, heads, size, state, low, high);
}

}  // namespace v5::ssd

#define STEPS_KERNEL(T, NAME) \
  extern "C" __global__ void __launch_bounds__(256) ssd_steps_##NAME( \
      const T *dt, const float *a_log, const float *dt_bias, float *out, unsigned batch, unsigned time, \
      unsigned heads, float low, float high) { \
    v5::ssd::steps(dt, a_log, dt_bias, out, batch, time, heads, low, high); \
  } \
  EXPORT(ssd_steps_##NAME) \
  extern "C" __global__ void __launch_bounds__(256) ssd_sum_##NAME( \
      const float *db_parts, const float *dc_parts, T *db, T *dc, unsigned rows, unsigned columns, \
      unsigned splits) { \
    v5::ssd::sum(db_parts, dc_parts, db, dc, rows, columns, splits); \
  } \
  EXPORT(ssd_sum_##NAME) \
  extern "C" __global__ void __launch_bounds__(256, 3) ssd_recur_##NAME( \
      const T *x, const T *dt, const T *b, const T *c, const float *a_log, const float *dt_bias, const float *d, \
      const float *start, T *y, float *last, unsigned time, unsigned heads, unsigned groups, unsigned size, \
      unsigned state, float low, float high) { \
    v5::ssd::recur(x, dt, b, c, a_log, dt_bias, d, start, y, last, time, heads, groups, size, state, low, high); \
  } \
  EXPORT(ssd_recur_##NAME) \
  extern "C" __global__ void __launch_bounds__(256, 3) ssd_convolved_##NAME( \
      const T *all, const float *w, const float *wb, const T *tail, const float *a_log, const float *dt_bias, \
      const float *d, const float *start, T *after, T *y, float *last, unsigned heads, unsigned groups, \
      unsigned size, unsigned state, unsigned taps, float low, float high) { \
    v5::ssd::convolved(all, w, wb, tail, a_log, dt_bias, d, start, after, y, last, heads, groups, size, state, taps, \
                       low, high); \
  } \
  EXPORT(ssd_convolved_##NAME)
STEPS_KERNEL(float, f32)
STEPS_KERNEL(bf16, bf16)

#define CHUNK_KERNELS(T, NAME, N, P) \
  extern "C" __global__ void __launch_bounds__(256, 2) ssd_states_##N##_##P##_##NAME( \
      const T *b, const T *x, const float *steps, const float *start, T *edges, float *last, unsigned time, \
      unsigned heads, unsigned groups, unsigned size, unsigned state) { \
    v5::ssd::scan<T, N, P, false>(b, x, steps, start, edges, last, time, heads, groups, size, state); \
  } \
  EXPORT(ssd_states_##N##_##P##_##NAME) \
  extern "C" __global__ void __launch_bounds__(256, 2) ssd_ends_##N##_##P##_##NAME( \
      const T *c, const T *dy, const float *steps, T *edges, unsigned time, unsigned heads, unsigned groups, \
      unsigned size, unsigned state) { \
    v5::ssd::scan<T, N, P, true>(c, dy, steps, nullptr, edges, nullptr, time, heads, groups, size, state); \
  } \
  EXPORT(ssd_ends_##N##_##P##_##NAME) \
  extern "C" __global__ void __launch_bounds__(128, 3) ssd_output_##N##_##P##_##NAME( \
      const T *x, const T *b, const T *c, const float *steps, const T *starts, const float *d, T *y, \
      unsigned time, unsigned heads, unsigned groups, unsigned size, unsigned state, unsigned splits) { \
    v5::ssd::output<T, N, P>(x, b, c, steps, starts, d, y, time, heads, groups, size, state, splits); \
  } \
  EXPORT(ssd_output_##N##_##P##_##NAME) \
  extern "C" __global__ void __launch_bounds__(256, 1) ssd_gradients_##N##_##P##_##NAME( \
      const T *dy, const T *x, const T *b, const T *c, const float *steps, const T *starts, const T *ends, \
      const float *a_log, const float *d, T *dx, T *ddt, float *db, float *dc, float *parameters, unsigned time, \
      unsigned heads, unsigned groups, unsigned size, unsigned state, unsigned splits) { \
    v5::ssd::gradients<T, N, P>(dy, x, b, c, steps, starts, ends, a_log, d, dx, ddt, db, dc, parameters, time, \
                                heads, groups, size, state, splits); \
  } \
  EXPORT(ssd_gradients_##N##_##P##_##NAME)
CHUNK_KERNELS(float, f32, 32, 32)
CHUNK_KERNELS(float, f32, 128, 64)
CHUNK_KERNELS(bf16, bf16, 32, 32)
CHUNK_KERNELS(bf16, bf16, 64, 32)
CHUNK_KERNELS(bf16, bf16, 64, 64)
CHUNK_KERNELS(bf16, bf16, 128, 32)
CHUNK_KERNELS(bf16, bf16, 128, 64)
