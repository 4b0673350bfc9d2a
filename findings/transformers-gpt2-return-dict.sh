#!/usr/bin/env bash
# GPT-2 in transformers 5 cannot run with the configuration key return_dict: false.
#
# Guess:  return_dict: false in config.json makes forward return a tuple, as the argument return_dict=False does.
# Seen:   transformers 5.24.0 with torch 2.15.0: GPT2LMHeadModel raises AttributeError ('tuple' object has no attribute
#         'last_hidden_state') at every call, with labels and without; the argument works.
# Matters for whoever changes the keys of a configuration one by one and takes the outcome as what they mean.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import torch
from transformers import GPT2Config, GPT2LMHeadModel

def model(**keys):
    sizes = dict(vocab_size=30, n_embd=12, n_layer=1, n_head=3, n_positions=16, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(GPT2Config(**sizes, **keys))

ids = torch.tensor([[1, 2, 3]])
said = ""
try:
    model(return_dict=False)(ids)
except AttributeError as error:
    said = str(error)
argument = model()(ids, return_dict=False)
print(f"configuration: {said or 'no error'}; argument: {type(argument).__name__}")
assert "last_hidden_state" in said and isinstance(argument, tuple), "it changed"
PY
