#!/usr/bin/env bash
# log_softmax of bfloat16 on a CPU rounds the sum of exponentials before its logarithm is taken.
#
# Guess:  log_softmax accumulates in float32 and rounds its result, so that the loss of a token that is nearly certain,
#         some thousandths of a nat, keeps bfloat16's two to three digits.
# Seen:   torch 2.15.0: the loss comes in steps of 1/128 nat, the distance of bfloat16's numbers above 1. Of 256 tokens
#         with losses of 0.0005 to 0.02 nats there are 3 different results; whatever is below 1/256 is exactly 0, its
#         gradient at the target too, while the gradients at the other words are there and add up to what the target lacks.
#         float16 has steps of 1/1024. cross_entropy is the same; with float32 logits it is right within 1 %.
# Matters where a peer is trained or scored in bfloat16 on a CPU: easy tokens are free, and what is learnt of them pulls
#         in one direction only.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
# One word stands out among a thousand; by how much goes from token to token.
ahead = torch.linspace(10.9, 14.5, 256)
wide = torch.zeros(256, 1000)
wide[:, 0] = ahead
target = torch.zeros(256, dtype=torch.long)


def losses(dtype):
    z = wide.to(dtype).requires_grad_()
    loss = F.cross_entropy(z, target, reduction="none")
    loss.sum().backward()
    exact = -torch.log_softmax(z.detach().double(), -1)[:, 0]
    return loss.detach().double(), exact, z.grad.double()


for dtype, step in [(torch.bfloat16, 1 / 128), (torch.float16, 1 / 1024)]:
    loss, exact, slope = losses(dtype)
    on_grid = (torch.expm1(loss) / step - (torch.expm1(loss) / step).round()).abs().max().item()
    zero = loss == 0
    print(f"{dtype}: {exact.min():.5f} to {exact.max():.5f} nats in {exact.unique().numel()} different losses, "
          f"{loss.unique().numel()} different results, {int(zero.sum())} of them 0")
    if dtype == torch.bfloat16:
        assert loss.unique().numel() <= 6 < 15 <= exact.unique().numel()
        assert zero.any() and exact[zero].max() > 0.003
        assert (slope[zero, 0] == 0).all() and (slope[zero, 1:].sum(-1) > 4e-4).all()
        print(f"where the loss is 0: gradient at the target 0, at the others together up to {slope[zero, 1:].sum(-1).max():.4f}")
loss, exact, _ = losses(torch.float32)
assert ((loss - exact).abs() / exact).max() < 0.02
print(f"float32: off by at most {((loss - exact).abs() / exact).max():.1e} of it")
PY
