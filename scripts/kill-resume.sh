#!/usr/bin/env bash
# Trains once without interruption and once killed with SIGKILL at KILLS random moments and resumed
# each time; the loss curve, the digest of what was fed and the weights must be the same bit for bit.
# Usage: scripts/kill-resume.sh [BINARY] [KILLS]
set -euo pipefail
binary=$(realpath "${1:-target/release/v5gate}")
kills=${2:-20}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/recipe.toml" <<'TOML'
name = "kill-resume"
about = "a short training to be killed"
models = ["groundthink"]
scales = ["smoke"]
seeds = [1]
checkpoint_every = 7
tuning = { groundthink = 0 }
[data]
kind = "conversations"
seed = 1
train_tokens = 60000
valid_documents = 5
vocab_size = 1024
[recipe]
token_count = 102400
batch_size = 8
micro_batch_size = 4
context_length = 64
learning_rate_schedule = "cosine"
warmup_steps = 10
max_lr = 1e-3
min_lr = 1e-4
weight_decay = 0.1
optimizer = "AdamW"
betas = [0.9, 0.95]
eps = 1e-8
grad_clip = 1.0
precision = "float32"
TOML
arguments=(train --model groundthink --scale smoke --seed 1 --recipe "$folder/recipe.toml" --out)
start=$(date +%s%N)
"$binary" "${arguments[@]}" "$folder/whole" 2>"$folder/log"
took=$(( ($(date +%s%N) - start) / 1000000 ))
RANDOM=${SEED:-$$}
landed=0
echo "uninterrupted: ${took} ms; random seed ${SEED:-$$}"
for i in $(seq "$kills"); do
  if [ -e "$folder/killed/run.json" ]; then break; fi
  "$binary" "${arguments[@]}" "$folder/killed" 2>"$folder/log" &
  job=$!
  # Moments so early that all kills fit into one training.
  wait_ms=$(( 30 + RANDOM % (2 * took / (kills + 14) + 1) ))
  sleep "$(printf '%d.%03d' $((wait_ms / 1000)) $((wait_ms % 1000)))"
  kill -KILL "$job" 2>/dev/null || true
  status=0
  { wait "$job" || status=$?; } 2>/dev/null
  # 137 is death by SIGKILL: one that had already ended was not hit.
  if [ "$status" -eq 137 ]; then landed=$((landed + 1)); fi
  at=$(find "$folder/killed" -maxdepth 1 -name 'step-*' -printf '%f ' 2>/dev/null || true)
  echo "kill $i after ${wait_ms} ms: ${at:-no checkpoint yet}"
done
"$binary" "${arguments[@]}" "$folder/killed" 2>"$folder/log"
if [ "$landed" -eq 0 ]; then
  echo "FAIL: no kill landed, so nothing is shown"
  exit 1
fi
without_time() { grep -v '"seconds"' "$folder/$1/run.json"; }
if cmp -s <(without_time whole) <(without_time killed) &&
  cmp -s "$folder/whole/final/model.safetensors" "$folder/killed/final/model.safetensors"; then
  echo "PASS: $landed of $kills kills landed mid-run; curve and weights are bit-identical ($(grep -c '"step"' "$folder/killed/run.json") steps)"
else
  echo "FAIL: the resumed run differs after $landed kills"
  exit 1
fi
