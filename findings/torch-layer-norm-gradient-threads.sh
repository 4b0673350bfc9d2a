#!/usr/bin/env bash
# PyTorch's LayerNorm in bfloat16 has another gradient for every number of threads.
#
# Guess:  the gradient of the bias, a sum over rows, is made in float32 as the norm itself is, and threads change its last
#         digit at most.
# Seen:   torch 2.15.0 on a CPU adds rows in bfloat16, each thread its own: of 1,000 rows with gradient one, one thread
#         finds 256, two find 512, four find 1,000. GroupNorm, BatchNorm and RMSNorm find what there is with any number.
# Matters where bfloat16 trainings are compared between machines: a smaller one learns its norms more slowly.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch
from torch import nn

half = torch.bfloat16


def gradient(norm, *shape):
    norm(torch.ones(*shape, dtype=half)).sum().backward()
    return (norm.bias if hasattr(norm, "bias") and norm.bias is not None else norm.weight).grad[0].item()


found = {}
for threads in (1, 2, 4):
    torch.set_num_threads(threads)
    found[threads] = [
        gradient(nn.LayerNorm(4, dtype=half), 1000, 4),
        gradient(nn.GroupNorm(2, 4, dtype=half), 1000, 4, 1),
        gradient(nn.BatchNorm1d(4, dtype=half), 1000, 4),
        gradient(nn.RMSNorm(4, dtype=half), 1000, 4),
    ]
    print(threads, "threads: layer, group, batch and RMS norm", found[threads])
assert [of[0] for of in found.values()] == [256.0, 512.0, 1000.0]
assert all(of[1:] == [1000.0] * 3 for of in found.values())
PY
