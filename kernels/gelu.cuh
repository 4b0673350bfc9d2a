// GELU, for functions of one element and for products that end with it.
#pragma once

#include "vectors.cuh"

namespace v5::elementwise {

// GPT-2's tanh form: ½x(1 + tanh u) = x·sigmoid(2u), u = √(2/π)(x + 0.044715x³).
constexpr float SCALE = 0.7978845608028654f, CUBIC = 0.044715f;

template <class T> __device__ __forceinline__ float gelu(float x) {
  float u = SCALE * (x + CUBIC * x * x * x);
  return x * sigmoid<T>(u + u);
}

}  // namespace v5::elementwise
