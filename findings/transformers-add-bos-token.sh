#!/usr/bin/env bash
# In transformers 5, add_bos_token in tokenizer_config.json is not what decides about the token before a text.
#
# Guess:  add_bos_token: true puts the bos before every text, false does not, whatever tokenizer.json holds.
# Seen:   transformers 5.24.0, GPT2Tokenizer: the post-processor inside tokenizer.json decides alone. A folder saved with
#         add_bos_token=True and then set to false still begins every text with the bos; one saved without it and then set to
#         true does not.
# Matters for evaluations: the harness adds what the tokenizer adds, and the key that people read says the opposite.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import json
import sys

from transformers import AutoTokenizer, GPT2Tokenizer

letters = ["<|endoftext|>"] + [chr(code) for code in range(ord("a"), ord("z") + 1)]
vocabulary = {letter: i for i, letter in enumerate(letters)}

def first_token(saved_with, key):
    folder = f"{sys.argv[1]}/{saved_with}-{key}"
    GPT2Tokenizer(vocab=vocabulary, merges=[], add_bos_token=saved_with).save_pretrained(folder)
    path = folder + "/tokenizer_config.json"
    config = json.load(open(path))
    config["add_bos_token"] = key
    json.dump(config, open(path, "w"))
    return AutoTokenizer.from_pretrained(folder)("abc")["input_ids"][0]

seen = {(saved, key): first_token(saved, key) for saved in [True, False] for key in [True, False]}
for (saved, key), token in seen.items():
    print(f"saved with add_bos_token={saved}, tokenizer_config.json says {key}: first token {token}")
assert seen == {(True, True): 0, (True, False): 0, (False, True): 1, (False, False): 1}, "it changed"
PY
