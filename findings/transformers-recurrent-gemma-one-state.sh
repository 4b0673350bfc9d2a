#!/usr/bin/env bash
# RecurrentGemma of transformers keeps its state in the model, whatever cache it is given.
#
# Guess:  a cache holds what a text leaves behind, so two texts with a cache each can be continued in turn.
# Seen:   transformers 5.24.0 (torch 2.15.0, CPU): the cache has the attention's keys and values alone; the state of
#         the recurrence and of the convolution are attributes of the model's layers. After a pass over any other
#         text, cached or not, the first one goes on from the other's state: logits of a tiny random model part by
#         more than 0.1, and by rounding without such a pass.
# Matters for whoever serves or scores several texts with one stateful model: one answers with the memory of another.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import torch
from transformers import DynamicCache, RecurrentGemmaConfig, RecurrentGemmaForCausalLM

torch.set_num_threads(1)
torch.set_grad_enabled(False)
torch.manual_seed(0)
sizes = dict(vocab_size=31, hidden_size=16, num_hidden_layers=3, intermediate_size=32, num_attention_heads=2)
config = RecurrentGemmaConfig(lru_width=16, w_init_variance_scale=1.0, **sizes)
model = RecurrentGemmaForCausalLM(config).eval()
text, other = torch.arange(20)[None], torch.arange(30, 20, -1)[None]
whole = model(text, use_cache=False).logits[:, 10:]


def difference(between):
    cache = DynamicCache(config=config)
    model(text[:, :10], cache=cache, use_cache=True)
    between()
    steps = [model(token, cache=cache, use_cache=True).logits for token in text[:, 10:].split(1, dim=1)]
    return (torch.cat(steps, dim=1) - whole).abs().max().item()


alone = difference(lambda: None)
with_own_cache = difference(lambda: model(other, cache=DynamicCache(config=config), use_cache=True))
without_cache = difference(lambda: model(other, use_cache=False))
print(f"a text continued token by token is off by {alone:.0e}; after another text with a cache of its own by", end=" ")
print(f"{with_own_cache:.0e}, after one without a cache by {without_cache:.0e}")
assert alone < 1e-4 and with_own_cache > 0.1 and without_cache > 0.1, "it changed"
PY
