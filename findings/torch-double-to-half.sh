#!/usr/bin/env bash
# PyTorch rounds float64 to half precision twice.
#
# Guess:  tensor.to(torch.bfloat16) gives the bfloat16 nearest to a float64, as numpy does for float16.
# Seen:   torch 2.15.0 on a CPU goes through float32, so a value just above the middle between two neighbours becomes
#         the lower one: bfloat16, float16 and float8_e4m3fn alike. Of ten million normal draws 72 become another
#         bfloat16 than the nearest, and 560 another float16 than numpy 2.4.6 gives.
# Matters where a reference in float64 is rounded to hold it against a bfloat16 result "to the bit".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import torch

for dtype, bits in [(torch.bfloat16, 8), (torch.float16, 11), (torch.float8_e4m3fn, 4)]:
    above_the_middle = 1 + 2.0**-bits + 2.0**-30
    got = torch.tensor(above_the_middle, dtype=torch.float64).to(dtype).to(torch.float64).item()
    print(f"{dtype}: {got}, the nearest is {1 + 2.0 ** (1 - bits)}")
    assert got == 1.0, "rounds once now"
assert float(np.float16(1 + 2.0**-11 + 2.0**-30)) == 1 + 2.0**-10, "numpy rounds twice now"

draws = torch.tensor(np.random.default_rng(0).standard_normal(10_000_000))
mantissa, exponent = torch.frexp(draws)
nearest = torch.ldexp(torch.round(mantissa * 2**8) / 2**8, exponent)
wrong = (draws.to(torch.bfloat16).to(torch.float64) != nearest).sum().item()
halves = draws.to(torch.float16).numpy() != draws.numpy().astype(np.float16)
print(f"bfloat16 off in {wrong}, float16 in {halves.sum()} of {len(draws)} normal draws")
assert (wrong, halves.sum()) == (72, 560), "another number of them"
PY
