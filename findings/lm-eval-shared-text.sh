#!/usr/bin/env bash
# lm-evaluation-harness scores a request wrong when another one has the same text cut at another place.
#
# Guess:  the log-likelihood of a continuation does not depend on which other requests are asked with it.
# Seen:   lm-eval 0.4.13 (HFLM, transformers 5.24.0, torch 2.15.0, CPU): " c" after "a b" alone has one value; asked together
#         with " b c" after "a" it gets another. Both share one forward pass, and the shorter continuation is read from the
#         positions of the longer one's first tokens.
# Matters for tasks whose items contain each other, and for whoever takes many harness numbers at once as references.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'lm-eval[hf]==0.4.13' torch==2.15.0 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import logging

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

letters = ["<|endoftext|>", "a", "b", "c", "Ġ", "Ġb", "Ġc"]
merges = [("Ġ", "b"), ("Ġ", "c")]
tokenizer = GPT2Tokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=merges)
torch.manual_seed(0)
sizes = dict(vocab_size=len(letters), n_positions=16, n_embd=12, n_layer=1, n_head=2, initializer_range=1.0)
model = GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)).eval()
harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=16)

def scores(*pairs):
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    return [score for score, _ in harness.loglikelihood(requests, disable_tqdm=True)]

[alone] = scores(("a b", " c"))
[_, together] = scores(("a", " b c"), ("a b", " c"))
tokens = torch.tensor([tokenizer("a b c")["input_ids"]])
with torch.no_grad():
    logits = model(tokens).logits.log_softmax(-1)[0]
right, misread = logits[1, tokens[0, 2]].item(), logits[0, tokens[0, 2]].item()
print(f"' c' after 'a b': {right:.6f} by the model; alone {alone:.6f}; with another request {together:.6f}")
assert abs(alone - right) < 1e-4, "it is wrong alone too"
assert abs(together - misread) < 1e-4 and abs(together - right) > 1e-2, "it changed"
PY
