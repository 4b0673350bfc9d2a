#!/usr/bin/env bash
# The tokenizers library learns another vocabulary from the same text each time.
#
# Guess:  training has no seed because it draws nothing: the same text and settings give the same vocabulary.
# Seen:   tokenizers 0.23.3: so it is for BPE without affixes. WordPiece's trainer, and BPE's with
#         continuing_subword_prefix or end_of_word_suffix, number the letters that carry an affix in the order of a
#         hash table, another at each call: the same tokens have other ids. Where pairs are equally frequent their ids
#         decide, and other tokens are learnt: 20 trainings on the same three words make three different first merges.
# Matters for a model whose tokenizer is trained again instead of kept: its embedding rows stand for other tokens.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3
"$folder/venv/bin/python" - <<'PY'
import json

from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def vocabularies(model, trainer, size, **affix):
    seen = set()
    for _ in range(20):
        tokenizer = Tokenizer(model(**affix))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        settings = dict(vocab_size=size, show_progress=False, **affix)
        tokenizer.train_from_iterator(["xab xcd xef"] * 5, trainer(**settings))
        seen.add(json.dumps(sorted(tokenizer.get_vocab().items())))
    tokens = {tuple(token for token, _ in json.loads(vocabulary)) for vocabulary in seen}
    return len(seen), len(tokens)


plain = vocabularies(models.BPE, trainers.BpeTrainer, 8)
prefixed = vocabularies(models.BPE, trainers.BpeTrainer, 14, continuing_subword_prefix="##")
suffixed = vocabularies(models.BPE, trainers.BpeTrainer, 11, end_of_word_suffix="</w>")
pieces = vocabularies(models.WordPiece, trainers.WordPieceTrainer, 14)
print("20 trainings give so many vocabularies, and so many sets of tokens:")
print(f"BPE {plain}, with a prefix {prefixed}, with a suffix {suffixed}, WordPiece {pieces}")
assert plain == (1, 1), "it changed"
assert min(prefixed + pieces) > 1 and suffixed[0] > 1, "it changed"
PY
