"""Seeds for the fuzz targets, from the project's fixtures and a few lines of each text format.

Usage: python3 fuzz/seeds.py [LEDGER]
Writes fuzz/corpus/TARGET/*. Of a LEDGER, such as out/smoke/ledger.jsonl, a few lines of each kind become seeds.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
FIXTURES = FUZZ.parent / "fixtures"


def seed(target, data):
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    data = data if isinstance(data, bytes) else data.encode()
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def checkpoints():
    for folder in sorted((FIXTURES / "layouts").iterdir()):
        config = folder / "config.json"
        text = config.read_bytes() if config.exists() else b""
        if text:
            seed("config", text)
        for path in folder.iterdir():
            if path.suffix == ".safetensors":
                seed("checkpoint", text + b"\0" + path.read_bytes())
            elif path.suffix in (".bin", ".pth"):
                seed("torch_checkpoint", text + b"\0" + path.read_bytes())
    for path in (FIXTURES / "keys").rglob("config.json"):
        seed("config", path.read_bytes())
    for path in FIXTURES.rglob("tokenizer.json"):
        seed("tokenizer", path.read_bytes())


def tokens():
    header = {"tokenizer": "t", "source": "s", "vocab_size": 300, "tokens": 8, "documents": 2, "width": 2, "payload": ""}
    ids = [5, 6, 7, 299, 8, 9, 10, 299]
    seed("token_cache", json.dumps(header).encode() + b"\0" + struct.pack("<8H3Q", *ids, 0, 4, 8))
    header |= {"vocab_size": 70_000, "width": 4}
    seed("token_cache", json.dumps(header).encode() + b"\0" + struct.pack("<8I3Q", *ids, 0, 4, 8))
    about = "{'descr': '<u4', 'fortran_order': False, 'shape': (4,), }"
    about = about.ljust(128 - 10 - 1) + "\n"
    seed("order", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(about)) + about.encode() + struct.pack("<4I", 2, 0, 3, 1))


def texts():
    seed("wikitext", " \n = A page = \n \n Its text , of @-@ words . \n \n = = A part = = \n \n More . \n")
    seed("wikitext", "One document.\n\nAnother one,\nof two lines.\n")
    seed("dialogues", "Hello . __eou__ Who is it ? __eou__\nYes . __eou__ No . __eou__\n")
    seed("dialogues", "1 your persona: i like tea.\n2 hi there\thello , do you like tea ?\n1 your persona: i sing.\n2 hi\tho\n")
    seed("json_lines", '{"text": "She opened the door and saw the dog"}\n{"text": "He sang a song"}\n')
    question = {"ind": 1, "activity_label": "Cooking", "ctx_a": "A man", "ctx_b": "he", "ctx": "A man he", "label": 1}
    question |= {"endings": ["cuts.", "[header] eats.", "runs.", "sits."], "split": "val", "source_id": "x~y~1"}
    seed("json_lines", json.dumps(question) + "\n")
    compared = {"model": "gpt2", "weights": "w", "seed": 1, "recipe": "r", "tokenizer": "t"}
    key = {"page": "p", "task": "dailydialog", "data": "d", "seed": 1, "top_p": 0.9}
    key |= {"a": compared, "b": compared | {"model": "groundthink"}, "a_is_left": [True, False]}
    seed("ratings", json.dumps(key) + "\0page,rater,pair,choice\np,ann,1,left\np,bob,2,tie\n")
    for path in (FUZZ.parent / "protocols").glob("*.toml"):
        seed("protocol", path.read_bytes())


def ledger(path):
    kinds = {}
    for line in Path(path).read_text().splitlines(keepends=True):
        kind = next(iter(json.loads(line)))
        kinds.setdefault(kind, []).append(line)
    for lines in kinds.values():
        for some in (lines[:1], lines[:4], lines[-2:]):
            seed("ledger", "".join(some))
    seed("ledger", "".join(line for lines in kinds.values() for line in lines[:3]))


checkpoints()
tokens()
texts()
if len(sys.argv) > 1:
    ledger(sys.argv[1])
