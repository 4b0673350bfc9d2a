// libcublas and libcurand, as far as the program calls them: products in float32, term by term in the order of the sum,
// and a generator that generates nothing.
#include <cstring>

#include "card.h"

using namespace card;

namespace {

constexpr int FAILED_TO_RUN = 13, REFUSED = 7, UNSUPPORTED = 15;
constexpr int R_32F = 0, R_16BF = 14, COMPUTE_32F = 68;
int handle;

/// The driver's codes are not cuBLAS's.
int status(int code) { return code >= 100 ? FAILED_TO_RUN : code; }

size_t size_of(int type) { return type == R_32F ? 4 : 2; }

float load(const unsigned char *from, int type) {
  float x;
  if (type == R_32F) return memcpy(&x, from, 4), x;
  uint16_t half;
  memcpy(&half, from, 2);
  uint32_t wide = uint32_t(half) << 16;
  return memcpy(&x, &wide, 4), x;
}

void store(unsigned char *to, int type, float x) {
  if (type == R_32F) return void(memcpy(to, &x, 4));
  uint32_t wide;
  memcpy(&wide, &x, 4);
  // To the nearest, ties to even; NaN stays NaN.
  uint16_t half = x != x ? 0x7fff : uint16_t((wide + 0x7fff + ((wide >> 16) & 1)) >> 16);
  memcpy(to, &half, 2);
}

/// Columns one behind the other, `lead` elements apart; read as its transpose where that is asked for.
struct Matrix {
  uint64_t at;
  int type, transposed, rows, columns, lead;

  bool refused() const { return lead < (transposed ? columns : rows) || lead < 1; }
  size_t bytes() const {
    size_t stored = transposed ? rows : columns, high = transposed ? columns : rows;
    return stored && high ? ((stored - 1) * size_t(lead) + high) * size_of(type) : 0;
  }
  unsigned char *element(int row, int column) const {
    if (transposed) std::swap(row, column);
    return reinterpret_cast<unsigned char *>(at) + (size_t(column) * size_t(lead) + size_t(row)) * size_of(type);
  }
};

void multiply(const Matrix &a, const Matrix &b, const Matrix &c, float alpha, float beta) {
  // [k][m], so that the sums of a column go on side by side.
  std::vector<float> left(size_t(a.rows) * size_t(a.columns)), sums(size_t(a.rows));
  for (int l = 0; l < a.columns; l++)
    for (int i = 0; i < a.rows; i++) left[size_t(l) * size_t(a.rows) + size_t(i)] = load(a.element(i, l), a.type);
  for (int j = 0; j < c.columns; j++) {
    // The neutral element of addition: 0 would turn a sum of -0 into 0.
    std::fill(sums.begin(), sums.end(), -0.0f);
    for (int l = 0; l < a.columns; l++) {
      float right = load(b.element(l, j), b.type), *x = &left[size_t(l) * size_t(a.rows)];
      for (size_t i = 0; i < sums.size(); i++) sums[i] += x[i] * right;
    }
    for (int i = 0; i < c.rows; i++) {
      // What is not added to is not read.
      float old = beta == 0 ? 0 : beta * load(c.element(i, j), c.type);
      store(c.element(i, j), c.type, old + alpha * sums[size_t(i)]);
    }
  }
}

}  // namespace

EXPORTED int cublasCreate_v2(void **to) {
  ENTER_ANYWHERE;
  return *to = &handle, 0;
}
EXPORTED int cublasDestroy_v2(void *) { return 0; }
EXPORTED int cublasSetStream_v2(void *, void *) { return 0; }
EXPORTED int cublasSetMathMode(void *, unsigned) { return 0; }
EXPORTED const char *cublasGetStatusName(int) { return "an error of the fake card"; }

EXPORTED int cublasGemmStridedBatchedEx(void *, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a,
                                        int type_a, int lead_a, long long step_a, const void *b, int type_b, int lead_b,
                                        long long step_b, const void *beta, void *c, int type_c, int lead_c,
                                        long long step_c, int batches, int compute, int) {
  std::lock_guard<std::recursive_mutex> turn(card::turn());
  if (int code = enter("cublasGemm", true)) return status(code);
  bool known = type_a == type_b && (type_a == R_32F || type_a == R_16BF) && (type_c == type_a || type_c == R_32F);
  if (!known || compute != COMPUTE_32F) {
    say("cublasGemm: types %d, %d and %d computed as %d are not known here", type_a, type_b, type_c, compute);
    return UNSUPPORTED;
  }
  auto address = [](const void *at, long long step, int i, int type) {
    return reinterpret_cast<uint64_t>(at) + uint64_t(step * i) * size_of(type);
  };
  for (int i = 0; i < batches; i++) {
    Matrix left{address(a, step_a, i, type_a), type_a, op_a != 0, m, k, lead_a};
    Matrix right{address(b, step_b, i, type_b), type_b, op_b != 0, k, n, lead_b};
    Matrix product{address(c, step_c, i, type_c), type_c, 0, m, n, lead_c};
    if (m < 0 || n < 0 || k < 0 || left.refused() || right.refused() || product.refused()) return REFUSED;
    float of_product, of_old;
    memcpy(&of_product, alpha, 4);
    memcpy(&of_old, beta, 4);
    enqueue([=] {
      if (int code = fault_of_work("cublasGemm")) return fail(code, "a product of cuBLAS");
      for (auto &each : {left, right, product})
        if (!holds(each.at, each.bytes())) return fail(ILLEGAL_ADDRESS, "a product of cuBLAS outside the card's memory");
      multiply(left, right, product, of_product, of_old);
    });
  }
  return 0;
}
EXPORTED int cublasGemmEx(void *h, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int type_a,
                          int lead_a, const void *b, int type_b, int lead_b, const void *beta, void *c, int type_c,
                          int lead_c, int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(h, op_a, op_b, m, n, k, alpha, a, type_a, lead_a, 0, b, type_b, lead_b, 0, beta, c,
                                    type_c, lead_c, 0, 1, compute, algorithm);
}

EXPORTED int curandCreateGenerator(void **to, int) { return *to = &handle, 0; }
EXPORTED int curandDestroyGenerator(void *) { return 0; }
EXPORTED int curandSetStream(void *, void *) { return 0; }
EXPORTED int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
