#!/usr/bin/env bash
# Tries scripts/gpu.sh on a fake card (scripts/fake-gpu.sh): parts that hang, crash or are killed leave what they have
# found and keep nobody from going on, and a later call adds to it.
#
#   scripts/gpu-test.sh [DIR]      DIR: where `gpu.sh pack` packed, or is to (target/gpu-pack)
set -euo pipefail
shopt -s extglob
cd "$(dirname "$0")/.."
dir=${1:-target/gpu-pack}
[ -e "$dir/pack.tar.xz" ] || V5_DATA='' scripts/gpu.sh pack "$dir"
# The script as it is now, whenever the programs were packed.
cp scripts/gpu.sh "$dir/"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
out=$folder/out
fail() { echo "gpu-test: $1" >&2 && cat "$out/summary.md" && tail -n 20 "$out"/*.log >&2; exit 1; }
call() { # seconds, parts: on the card
  local rc=0
  scripts/fake-gpu.sh "$dir/gpu.sh" run "$dir" "$out" "$@" >"$folder/said" 2>&1 || rc=$?
  echo "$rc: $*"
}
expect() { # what results.json says of the parts, one after the other
  local got
  got=$(python3 -c 'import json, sys
results = json.load(open(sys.argv[1]))
print(len(results["calls"]), *(p["part"] + "=" + p["outcome"].replace(" ", "-") for p in results["parts"]))' "$out/results.json")
  # shellcheck disable=SC2053
  [[ $got = $1 ]] || fail "expected $1, got $got"
  echo "$got"
}

cat >"$folder/tiny.toml" <<'TOML'
name = "tiny"
about = "a few steps"
models = ["gpt2", "groundthink"]
scales = ["smoke"]
seeds = [1]
checkpoint_every = 2
tuning = { gpt2 = 0, groundthink = 0 }

[data]
kind = "conversations"
seed = 1
train_tokens = 20_000
valid_documents = 5
vocab_size = 1024

[recipe]
token_count = 288
batch_size = 2
micro_batch_size = 1
context_length = 72
learning_rate_schedule = "cosine"
warmup_steps = 1
max_lr = 1e-3
min_lr = 0.0
weight_decay = 0.1
optimizer = "AdamW"
betas = [0.9, 0.95]
eps = 1e-8
grad_clip = 1.0
precision = "bfloat16"
TOML
export V5_PROTOCOL=$folder/tiny.toml

# No card: every part says so, at once.
V5_FAKE_GPU_DEVICES=0 call 60 a c >/dev/null
expect "1 a=did-not-run c=did-not-run"
grep -q 'no CUDA device 0' "$out/results.json" || fail "without a card, no reason"
rm -rf "$out"

# A driver that never answers.
V5_FAKE_GPU_FAULT="cuInit 1 hang" PROBE=5 call 60 a >/dev/null
expect "1 a=did-not-run"
rm -rf "$out"

# The card hangs in the middle of the first part; the second crashes; the third has its turn all the same.
mkdir "$folder/bin"
printf '#!/bin/sh\nkill -SEGV $$\n' >"$folder/bin/compute-sanitizer" && chmod +x "$folder/bin/compute-sanitizer"
PATH=$folder/bin:$PATH V5_FAKE_GPU_FAULT="run/cross_entropy_f32 1 hang" call 90 a b d
expect "1 a=out-of-time b=failed-(139) d=skipped"
grep -q '"passed": [1-9]' "$out"/2-a.json || fail "nothing is known of the trials that had ended"
sha256sum "$out"/2-a.* "$out"/3-b.* >"$folder/before"

# Another part in other calls: it crashes, then has too little time, then goes on where it was.
V5_FAKE_GPU_FAULT="cuLaunchKernel 400 crash" call 120 e
lines() { wc -l <"$out.work/run-tiny/ledger.jsonl"; }
crashed=$(lines)
call 110 e
stopped=$(lines)
call 110 e
expect "4 a=out-of-time b=failed-(139) d=skipped e=failed-(134) e=@(stopped-in-time|ok) e=@(stopped-in-time|ok)"
echo "$crashed, $stopped and $(lines) lines in the ledger"
[ "$crashed" -ge 1 ] && [ "$stopped" -gt "$crashed" ] && [ "$(lines)" -ge "$stopped" ] || fail "a part began anew"
for number in 6 8 10; do [ -s "$out/$number-e.evidence.tar.xz" ] || fail "no evidence of $number"; done

# The script itself is killed.
scripts/fake-gpu.sh timeout --signal=TERM 25 "$dir/gpu.sh" run "$dir" "$out" 300 a >/dev/null 2>&1 || true
expect "5 * a=did-not-end"
sha256sum --quiet --check "$folder/before" || fail "an earlier part was written over"
