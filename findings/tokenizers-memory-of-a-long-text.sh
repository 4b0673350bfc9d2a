#!/usr/bin/env bash
# Encoding one long text takes more than a hundred bytes of memory for each byte of it.
#
# Guess:  what an encoding keeps of a token (id, type, text, place, masks) is some 70 bytes, so a text of 16 MB, with a
#         token every four bytes, takes about 300 MB; the call that is documented to skip the places takes less than half.
# Seen:   tokenizers 0.23.3: 2.3 GB, 590 bytes a token: the whole text is split into words with their places, and words
#         into tokens, before anything is given back. encode_batch_fast saves a quarter. The same text in sixteen pieces
#         takes a quarter of the memory while all sixteen results are kept: what is left of a token is 145 bytes.
# Matters for whoever encodes a corpus whose file is one document: 100 MB of novels take 14 GB. Cut it first, where white
#         space begins after what is none, and keep the ids alone.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3
cat > "$folder/weigh.py" <<'PY'
import random
import resource
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SIZE = 16_000_000
draw = random.Random(1)
words = ["".join(draw.choice("etaoinshrdlu") for _ in range(draw.randint(2, 9))) for _ in range(3000)]
text = " ".join(draw.choice(words) for _ in range(200_000))
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=4000, show_progress=False, initial_alphabet=alphabet)
tokenizer.train_from_iterator([text], trainer)
text = (text * 20)[:SIZE]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


before = peak()
if sys.argv[1] == "whole":
    kept = [tokenizer.encode(text)]
elif sys.argv[1] == "fast":
    kept = tokenizer.encode_batch_fast([text])
else:
    kept = [tokenizer.encode(text[i : i + SIZE // 16]) for i in range(0, SIZE, SIZE // 16)]
tokens = sum(len(one.ids) for one in kept)
print(f"{(peak() - before) / SIZE:.1f} {(peak() - before) / tokens:.0f}")
PY
declare -A seen
for how in whole fast pieces; do
    read -r of_byte of_token < <("$folder/venv/bin/python" "$folder/weigh.py" "$how")
    echo "$how: $of_byte bytes for a byte of text, $of_token for a token"
    seen[$how]=${of_byte%.*}
done
((seen[whole] > 100 && seen[fast] > 80 && seen[pieces] < 60)) || { echo "it changed"; exit 1; }
