#!/usr/bin/env bash
# Bamba of transformers counts positions anew for everything that follows a cache.
#
# Guess:  without position_ids a model goes on counting where its cache ends, as GPT-2, Falcon-H1 and Llama do.
# Seen:   transformers 5.24.0 (torch 2.15.0, CPU): Bamba gives the first token after a cache of ten the position 0,
#         and its rotary attention sees other distances: the logits part from those of the whole text by more than
#         0.01 in a tiny random model, and by rounding with position_ids=[[10, ...]]. generate passes them and is
#         right.
# Matters for whoever scores continuations after a cached prompt: the hybrid's attention is wrong, the peer's is not.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import torch
from transformers import AutoModelForCausalLM, BambaConfig, FalconH1Config, GPT2Config, LlamaConfig

torch.set_num_threads(1)
torch.set_grad_enabled(False)
special = dict(vocab_size=31, pad_token_id=0, bos_token_id=0, eos_token_id=0)
sizes = dict(hidden_size=16, num_hidden_layers=2, intermediate_size=32, num_attention_heads=2, num_key_value_heads=2)
sizes |= dict(initializer_range=0.5, **special)
mamba = dict(mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8)
configs = [
    BambaConfig(attn_layer_indices=[1], **mamba, **sizes),
    FalconH1Config(mamba_d_ssm=32, **mamba, **sizes),
    LlamaConfig(**sizes),
    GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.5, **special),
]
text = torch.arange(20)[None]
off = {}
for config in configs:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    whole = model(text, use_cache=False).logits[:, 10:]

    def difference(**positions):
        cache = model(text[:, :10], use_cache=True).cache
        return (model(text[:, 10:], cache=cache, **positions).logits - whole).abs().max().item()

    off[config.model_type] = difference(), difference(position_ids=torch.arange(10, 20)[None])
    print(f"{config.model_type}: off by %.0e without position_ids, %.0e with them" % off[config.model_type])
assert off["bamba"][0] > 1e-2 and off.pop("bamba")[1] < 1e-4, "it changed"
assert all(max(pair) < 1e-4 for pair in off.values()), "it changed"
PY
