#!/usr/bin/env bash
# transformers rescales the weights of a Mamba-2 checkpoint that it loads.
#
# Guess:  rescale_prenorm_residual says how fresh weights are initialised, and does nothing to a checkpoint.
# Seen:   transformers 5.24.0 (torch 2.15.0): from_pretrained divides every loaded out_proj.weight by the square root of the
#         number of layers where config.json has the key true; without the key the weights are those of the file.
# Matters where a published checkpoint is scored by two programs: they differ, and both read the file "as it is".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 transformers==5.24.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import json
import sys

import torch
from safetensors.torch import load_file
from transformers import Mamba2Config, Mamba2ForCausalLM

torch.manual_seed(0)
folder = sys.argv[1] + "/checkpoint"
sizes = dict(vocab_size=31, hidden_size=16, num_heads=4, head_dim=8, state_size=8, n_groups=1, num_hidden_layers=4)
special = dict(pad_token_id=0, bos_token_id=0, eos_token_id=0)
Mamba2ForCausalLM(Mamba2Config(rescale_prenorm_residual=False, **sizes, **special)).save_pretrained(folder)
name = "backbone.layers.0.mixer.out_proj.weight"
in_the_file = load_file(folder + "/model.safetensors")[name]

def ratio(rescale):
    config = json.load(open(folder + "/config.json"))
    config["rescale_prenorm_residual"] = rescale
    json.dump(config, open(folder + "/config.json", "w"))
    loaded = Mamba2ForCausalLM.from_pretrained(folder).state_dict()[name]
    return (loaded / in_the_file).median().item()

plain, rescaled = ratio(False), ratio(True)
print(f"out_proj.weight as loaded over the file's, 4 layers: {plain} without the key, {rescaled} with it")
assert plain == 1.0, "it changed"
assert abs(rescaled - 0.5) < 1e-6, "it changed"
PY
