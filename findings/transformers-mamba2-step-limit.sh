#!/usr/bin/env bash
# transformers' Mamba-2 generates with another step size than it scores with.
#
# Guess:  time_step_limit clamps the step size Δ in every path of Mamba2ForCausalLM.
# Seen:   transformers 5.24.0 (torch 2.15.0, CPU): the pass over a whole text clamps, the cached pass over one token does
#         not. The last position's logits, whole text against cache, part by 7e-4 in a tiny random model with
#         limits 0.01 to 0.05, and by rounding alone (below 1e-6) without limits.
# Matters where generated replies and scored replies of one checkpoint are held against each other.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import torch
from transformers import Mamba2Config, Mamba2ForCausalLM

torch.set_num_threads(1)
tokens = torch.arange(20)[None]

def difference(limit):
    torch.manual_seed(0)
    sizes = dict(vocab_size=31, hidden_size=16, num_heads=4, head_dim=8, state_size=8, n_groups=1)
    special = dict(pad_token_id=0, bos_token_id=0, eos_token_id=0)
    config = Mamba2Config(num_hidden_layers=2, chunk_size=8, time_step_limit=limit, **sizes, **special)
    model = Mamba2ForCausalLM(config).eval()
    with torch.no_grad():
        whole = model(tokens).logits[0, -1]
        cache = model(tokens[:, :-1], use_cache=True).cache
        step = model(tokens[:, -1:], cache=cache, use_cache=True).logits[0, -1]
    return (whole - step).abs().max().item()

free, limited = difference((0.0, float("inf"))), difference((0.01, 0.05))
print(f"whole text against one cached step: {free:.1e} without limits, {limited:.1e} with 0.01 to 0.05")
assert free < 1e-6, "the paths part without limits too"
assert limited > 2e-5, "the cached step obeys the limits now"
PY
