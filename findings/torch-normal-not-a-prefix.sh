#!/usr/bin/env bash
# From one seed a longer draw of normal numbers does not begin with a shorter one in PyTorch.
#
# Guess:  torch.randn(17) after manual_seed(0) begins with the 16 numbers of torch.randn(16), as torch.rand does, and a
#         view is filled in the order of its indices or of its memory.
# Seen:   torch 2.15.0 on a CPU: of 17 numbers only the first is among the 16, because where the count is no multiple of
#         16 the last 16 are drawn again; below 16 another algorithm gives numbers of which none is the same. A transposed
#         view gets neither the numbers of its shape nor those of its memory. float64 draws others than float32,
#         while bfloat16's are float32's, rounded.
# Matters where initial weights are made again from a seed: a vocabulary padded by one row, a bias of 15 entries, or a
#         weight kept as [in, out] instead of [out, in] gives another model.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch


def drawn(make):
    torch.manual_seed(0)
    return make()


normal = {n: drawn(lambda: torch.randn(n)) for n in (15, 16, 17, 32, 33)}
same = lambda a, b: int((normal[a] == normal[b][:a]).sum())
counts = {f"{a} of {b}": same(a, b) for a, b in ((15, 16), (16, 17), (16, 32), (32, 33))}
print("numbers of the shorter draw where the longer begins:", counts)
assert counts == {"15 of 16": 0, "16 of 17": 1, "16 of 32": 16, "32 of 33": 17}
uniform = [drawn(lambda: torch.rand(n)) for n in (15, 16, 17)]
assert torch.equal(uniform[0], uniform[1][:15]) and torch.equal(uniform[1], uniform[2][:16]), "rand is no prefix now"

straight = drawn(lambda: torch.empty(32, 64).normal_())
turned = drawn(lambda: torch.empty(64, 32).t().normal_())
of_shape, of_memory = (straight == turned).sum().item(), (straight.flatten() == turned.t().flatten()).sum().item()
print(f"a transposed view of 2,048 numbers: {of_shape} where their shape has them, {of_memory} where their memory has")
assert of_shape < 100 and of_memory < 100, "one of the two orders now"
of = lambda dtype: drawn(lambda: torch.empty(64, dtype=dtype).normal_())
assert torch.equal(of(torch.bfloat16), of(torch.float32).to(torch.bfloat16))
assert not torch.equal(of(torch.float64).float(), of(torch.float32))
PY
