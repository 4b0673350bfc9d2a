#!/usr/bin/env bash
# AdamW on bfloat16 weights never forgets a large gradient, and fused=True trains where fused=False stands still.
#
# Guess:  the running mean of squared gradients is coarse in bfloat16 but follows its average, and fused=True makes
#         the same steps up to rounding.
# Seen:   torch 2.15.0 on a CPU, default betas: times 0.999 is less than half of bfloat16's last digit, so after one
#         gradient of 100 the mean is 10 and stays 10 for ever (float32: 3.7 after 1,000 steps). Under a constant
#         gradient of 1 it stops at 0.5, with fused=True at 0.25, instead of 1. So a step of lr=0.001 becomes 0.0014
#         or 0.002, and a weight of 1 moves only by 0.00195 or more: after 5,000 steps it is still 1.0, with
#         fused=True below zero.
# Matters where a model is converted with .to(torch.bfloat16) and trained, as a peer or a baseline: one spike silences
#         a weight, and a switch that is said to be about speed decides whether it learns.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch

torch.set_num_threads(1)


def trained(dtype, gradients, **way):
    weight = torch.nn.Parameter(torch.ones(70, dtype=dtype))
    optimizer = torch.optim.AdamW([weight], lr=1e-3, **way)
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    mean = optimizer.state[weight]["exp_avg_sq"]
    assert (mean == mean[0]).all() and (weight == weight[0]).all()
    return mean[0].item(), weight[0].item()


spike, constant = [100.0] + [0.0] * 1000, [1.0] * 5000
exact = trained(torch.float32, spike)[0]
print(f"the mean after a spike: float32 {exact:.3f}")
seen = []
for fused in (False, True):
    seen.append((trained(torch.bfloat16, spike, fused=fused)[0], *trained(torch.bfloat16, constant, fused=fused)))
    print(f"bfloat16, fused={fused}: {seen[-1][0]}; under a constant gradient {seen[-1][1]}, the weight {seen[-1][2]}")
assert exact < 4 and seen[0] == (10.0, 0.5, 1.0), "it changed"
assert seen[1][:2] == (10.0, 0.25) and seen[1][2] < 0, "it changed"
PY
