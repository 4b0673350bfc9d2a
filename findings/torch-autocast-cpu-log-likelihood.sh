#!/usr/bin/env bash
# Under autocast a CPU leaves log_softmax, softmax, sums and norms in bfloat16, which a GPU computes in float32.
#
# Guess:  torch.autocast("cpu", bfloat16) promotes what torch.autocast("cuda", bfloat16) promotes, so an answer's
#         log-likelihood, a sum of log_softmax, is float32 on both.
# Seen:   torch 2.15.0: log_softmax, softmax, layer_norm, sum, pow, exp, norm and cumsum have a kernel for autocast on
#         CUDA and none for autocast on a CPU; nll_loss has both, and cross_entropy of the same logits is float32. An
#         answer of 40 tokens has a log-likelihood of about -300 in steps of 2 nats: of pairs of answers that float32
#         tells apart by a quarter to two nats, nearly half (77 of 169) tie or change places.
# Matters where a peer is evaluated on a CPU in bfloat16 by ranking answers (HellaSwag, LAMBADA): the ranking is that
#         of another arithmetic than on a GPU, and a loss by cross_entropy beside it looks right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
has = torch._C._dispatch_has_kernel_for_dispatch_key
ops = ["log_softmax.int", "softmax.int", "layer_norm", "sum.dim_IntList", "pow.Tensor_Scalar", "exp", "norm.Scalar",
       "cumsum", "nll_loss"]
for op in ops:
    both = [has(f"aten::{op}", f"Autocast{device}") for device in ("CPU", "CUDA")]
    print(f"{op}: a kernel for autocast on a CPU {both[0]}, on CUDA {both[1]}")
    assert both == [op == "nll_loss", True], "it changed"

close = wrong = 0
for _ in range(1000):
    hidden, head, answers = torch.randn(2, 40, 64), torch.randn(1000, 64) / 8, torch.randint(0, 1000, (2, 40, 1))
    with torch.autocast("cpu", torch.bfloat16):
        logits = F.linear(hidden, head)
        brief = F.log_softmax(logits, -1).gather(2, answers).sum((1, 2))
        loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten())
    assert (brief.dtype, loss.dtype) == (torch.bfloat16, torch.float32), "it changed"
    exact = F.log_softmax(logits.float(), -1).gather(2, answers).sum((1, 2))
    gap = (exact[0] - exact[1]).item()
    if 0.25 < abs(gap) < 2:
        close += 1
        wrong += (brief[0] - brief[1]).item() * gap <= 0
print(f"{brief.tolist()} for {exact.tolist()}; {wrong} of {close} close pairs tie or change places")
assert 0.3 < wrong / close < 0.9, "it changed"
PY
