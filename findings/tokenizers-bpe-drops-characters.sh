#!/usr/bin/env bash
# BPE in the tokenizers library leaves out characters that it does not know.
#
# Guess:  without an unk_token a character outside the vocabulary is an error.
# Seen:   tokenizers 0.23.3: so it is in WordLevel, WordPiece and Unigram. BPE without a word encodes "a7b" as "ab",
#         and only with an unk_token puts that in the place of the 7. BpeTrainer makes none unless it is told to:
#         trained on text without digits, the tokenizer reads "1 + 1 = 3 one" as "one".
# Matters for scores per byte or per word: text that is not there costs nothing, so the poorer alphabet looks the
#         better model. Byte-level tokenizers know every byte.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3
"$folder/venv/bin/python" - <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

letters = {"a": 0, "b": 1}
known = {
    "BPE": models.BPE(vocab=letters, merges=[]),
    "BPE with unk_token": models.BPE(vocab={**letters, "?": 2}, merges=[], unk_token="?"),
    "WordPiece": models.WordPiece(vocab={**letters, "##b": 2}),
    "WordLevel": models.WordLevel(vocab=letters),
    "Unigram": models.Unigram([("a", -1.0), ("b", -1.0)]),
}
seen = {}
for name, model in known.items():
    try:
        seen[name] = Tokenizer(model).encode("a7b").tokens
    except Exception as error:
        seen[name] = "refused"
    print(f"{name}: a7b is {seen[name]}")
refused = dict.fromkeys(["WordPiece", "WordLevel", "Unigram"], "refused")
assert seen == {"BPE": ["a", "b"], "BPE with unk_token": ["a", "?", "b"], **refused}, "it changed"

trained = Tokenizer(models.BPE())
trained.pre_tokenizer = pre_tokenizers.Whitespace()
trained.train_from_iterator(["one and one is three"], trainers.BpeTrainer(show_progress=False))
sum_and_word = trained.encode("1 + 1 = 3 one").tokens
print("trained on words, '1 + 1 = 3 one' is", sum_and_word)
assert sum_and_word == ["one"], "it changed"
PY
