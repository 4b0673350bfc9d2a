#!/usr/bin/env bash
# Four recurrent models of transformers drop the state that they are given as past_key_values.
#
# Guess:  the output's past_key_values, handed to the next call under the same name, continues the text, or is
#         refused.
# Seen:   transformers 5.24.0 (torch 2.15.0, CPU): the old name reads the state of every model with a warning that it
#         is deprecated. GPT-2, Jamba and Bamba take it back, too; Mamba, Mamba-2, FalconMamba and xLSTM swallow it
#         among their keywords, and their logits are to the bit those of a text that begins anew.
# Matters for a loop that was written for GPT-2 and runs a state-space model beside it: the one model answers with the
#         text before it, the other without.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import torch
from transformers import AutoModelForCausalLM, BambaConfig, FalconMambaConfig, GPT2Config, JambaConfig, Mamba2Config
from transformers import MambaConfig, xLSTMConfig

torch.set_num_threads(1)
torch.set_grad_enabled(False)
special = dict(vocab_size=31, pad_token_id=0, bos_token_id=0, eos_token_id=0)
sizes = dict(hidden_size=16, num_hidden_layers=2, **special)
hybrid = dict(intermediate_size=32, num_attention_heads=2, num_key_value_heads=2, mamba_d_state=8, **sizes)
configs = [
    GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, **special),
    JambaConfig(num_experts=2, attn_layer_period=2, attn_layer_offset=1, **hybrid),
    BambaConfig(attn_layer_indices=[1], mamba_n_heads=4, mamba_d_head=8, **hybrid),
    MambaConfig(state_size=8, **sizes),
    Mamba2Config(num_heads=4, head_dim=8, state_size=8, n_groups=1, **sizes),
    FalconMambaConfig(state_size=8, **sizes),
    xLSTMConfig(num_heads=2, **{**sizes, "hidden_size": 128}),
]
start, following = torch.arange(10)[None], torch.tensor([[10]])
seen = {}
for config in configs:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    state = model(start, use_cache=True).past_key_values
    assert state is not None
    continued, anew = model(following, past_key_values=state).logits, model(following).logits
    seen[config.model_type] = "begins anew" if torch.equal(continued, anew) else "continues"
    print(f"{config.model_type}: {seen[config.model_type]}")
assert list(seen.values()) == ["continues"] * 3 + ["begins anew"] * 4, "it changed"
PY
