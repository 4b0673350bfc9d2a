#!/usr/bin/env bash
# Trains once without interruption, then again and again in one folder where PROCESSES start at once and each is
# killed with SIGKILL at a random moment, KILLS times; whenever a training ends all the same, the loss curve, the digest
# of what was fed and the weights must be the same bit for bit; and wherever the last one was not killed, exactly the
# files of the uninterrupted training may be left.
# Usage: scripts/kill-resume.sh [BINARY] [KILLS] [PROCESSES]
set -euo pipefail
binary=$(realpath "${1:-target/release/v5gate}")
kills=${2:-20}
processes=${3:-1}
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
ended=0
swept=0
echo "uninterrupted: ${took} ms; random seed ${SEED:-$$}"
without_time() { sed '/"seconds"/d; /"starts": \[/,/\]/d' "$folder/$1/run.json"; }
# The last process on the folder "killed" ended undisturbed: all and only the files of the whole run are there.
tidy() {
  if ! cmp -s <(cd "$folder/whole" && find . | sort) <(cd "$folder/killed" && find . | sort); then
    echo "FAIL: other files than those of the whole run are left after $landed kills"
    diff <(cd "$folder/whole" && find . | sort) <(cd "$folder/killed" && find . | sort) || true
    exit 1
  fi
}
# Compares the ended run in the folder "killed" with the whole one, and removes it.
check() {
  if ! cmp -s <(without_time whole) <(without_time killed) ||
    ! cmp -s "$folder/whole/final/model.safetensors" "$folder/killed/final/model.safetensors"; then
    echo "FAIL: the resumed run differs after $landed kills"
    exit 1
  fi
  ended=$((ended + 1))
  rm -rf "$folder/killed"
}
for i in $(seq "$kills"); do
  jobs=()
  killers=()
  waits=()
  before=$landed
  for _ in $(seq "$processes"); do
    "$binary" "${arguments[@]}" "$folder/killed" 2>>"$folder/log" &
    jobs+=("$!")
  done
  for job in "${jobs[@]}"; do
    # Moments so early that several kills fit into one training.
    wait_ms=$((30 + RANDOM % (took / 3 + 1)))
    waits+=("$wait_ms")
    (sleep "$(printf '%d.%03d' $((wait_ms / 1000)) $((wait_ms % 1000)))" && kill -KILL "$job" 2>/dev/null) &
    killers+=("$!")
  done
  for job in "${jobs[@]}"; do
    status=0
    { wait "$job" || status=$?; } 2>/dev/null
    # 137 is death by SIGKILL: one that had already ended was not hit.
    case "$status" in
      0) ;;
      137) landed=$((landed + 1)) ;;
      *)
        echo "FAIL: exit code $status"
        tail -n 5 "$folder/log"
        exit 1
        ;;
    esac
  done
  wait "${killers[@]}" 2>/dev/null || true
  at=$(find "$folder/killed" -maxdepth 1 -name 'step-*' -printf '%f ' 2>/dev/null || true)
  echo "kill $i after ${waits[*]} ms: ${at:-no checkpoint}"
  if [ -e "$folder/killed/run.json" ]; then
    [ "$landed" -gt "$before" ] || tidy
    left=$(find "$folder/killed" -name '.lock' -o -name '.writing-*' -o -name 'step-*' | wc -l)
    [ "$left" -eq 0 ] || swept=$((swept + 1))
    # The record is there, and one more finds it.
    "$binary" "${arguments[@]}" "$folder/killed" 2>>"$folder/log"
    tidy
    check
  fi
done
"$binary" "${arguments[@]}" "$folder/killed" 2>>"$folder/log"
tidy
check
if [ "$landed" -eq 0 ]; then
  echo "FAIL: no kill landed, so nothing is shown"
  exit 1
fi
echo "PASS: $landed of $((kills * processes)) processes were killed mid-run; $ended trainings ended, $swept of them with something left to sweep; curve and weights bit-identical ($(grep -c '"step"' "$folder/whole/run.json") steps)"
