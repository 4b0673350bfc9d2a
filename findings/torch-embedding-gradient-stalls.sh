#!/usr/bin/env bash
# The gradient of a frequent token stops growing in PyTorch's bfloat16 embedding.
#
# Guess:  nn.Embedding sums the gradients of a token that occurs 1,000 times in float32, as products and norms do, and
#         rounds once: 1,000.
# Seen:   torch 2.15.0 on a CPU adds one after the other in bfloat16, and 256 + 1 rounds to 256: so for nn.Embedding,
#         embedding_bag, take and w[tokens]. The gradients of index_select and gather, which look up the same rows, are
#         1,000. Of 8,192 tokens drawn by Zipf's law over 1,000 kinds, with gradients near one, those of the most
#         frequent kind add up to half of their sum.
# Matters where a model is converted with .to(torch.bfloat16) and trained, as a peer or a reference: commas and articles
#         learn a fraction of what they should. Under autocast weights and their gradients stay float32.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch
from torch.nn.functional import embedding, embedding_bag

tokens = torch.zeros(1000, dtype=torch.long)
ways = {
    "embedding": lambda w: embedding(tokens, w),
    "embedding_bag": lambda w: embedding_bag(tokens[None], w, mode="sum"),
    "w[tokens]": lambda w: w[tokens],
    "take": lambda w: w.take(tokens),
    "index_select": lambda w: w.index_select(0, tokens),
    "gather": lambda w: w.gather(0, tokens[:, None].expand(-1, 4)),
}
found = {}
for name, way in ways.items():
    w = torch.zeros(8, 4, dtype=torch.bfloat16, requires_grad=True)
    way(w).sum().backward()
    found[name] = w.grad[0, 0].item()
print(found)
assert found == {**dict.fromkeys(list(ways)[:4], 256.0), "index_select": 1000.0, "gather": 1000.0}

torch.manual_seed(0)
drawn = torch.multinomial(1 / torch.arange(1.0, 1001), 8192, replacement=True)
gradient = (1 + 0.1 * torch.randn(8192, 1)).to(torch.bfloat16)
w = torch.zeros(1000, 1, dtype=torch.bfloat16, requires_grad=True)
embedding(drawn, w).backward(gradient)
exact = torch.zeros(1000, 1).index_add_(0, drawn, gradient.float())
share = (w.grad[0].float() / exact[0]).item()
print(f"the most frequent of 8,192 tokens: {w.grad[0].item()} of {exact[0].item():.1f}, {share:.2f} of it")
assert 0.4 < share < 0.6, "another share"
PY
