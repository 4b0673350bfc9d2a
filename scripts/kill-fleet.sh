#!/usr/bin/env bash
# Runs a small protocol once undisturbed by one process, then again and again as tasks of a fleet, two at a time, whose
# processes are interrupted at random moments (three in four by SIGKILL, the others by SIGTERM) in training, evaluation,
# audit, timing and report, until INTERRUPTIONS have struck. Whatever is interrupted is started again, as an engine
# would; each time all tasks have ended, the union of their ledgers must be that of the undisturbed run but for times,
# the finished report must tell the same findings, and nothing may be left behind.
# Usage: scripts/kill-fleet.sh [BINARY] [INTERRUPTIONS]
set -euo pipefail
binary=$(realpath "${1:-target/release/v5gate}")
wanted=${2:-200}
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true; rm -rf "$folder"' EXIT
RANDOM=${SEED:-$$}
echo "random seed ${SEED:-$$}"
protocol=$folder/protocol.toml
cat >"$protocol" <<'TOML'
name = "kill-fleet"
about = "tasks to be interrupted"
models = ["gpt2", "groundthink"]
scales = ["smoke"]
seeds = [1, 2]
checkpoint_every = 7
tuning = { gpt2 = 0, groundthink = 0 }
benchmark_items = 0
long_documents = 1
[data]
kind = "conversations"
seed = 1
train_tokens = 60000
valid_documents = 5
vocab_size = 1024
[recipe]
token_count = 38400
batch_size = 4
micro_batch_size = 2
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
export RAYON_NUM_THREADS=1

# Where a task stands, from what lies in its folder; the last of a trial's answers are those of the audit.
stage() {
  local run
  case $1 in
    4 | 5) echo times && return ;;
  esac
  run=$(find "$2/runs" -maxdepth 1 -name "$3-*" 2>/dev/null | head -n 1)
  if [ -z "$run" ] || [ ! -e "$run/run.json" ]; then
    echo training
  elif grep -q '"probe":"overfit"' "$run/ledger.jsonl" 2>/dev/null; then
    echo "audit"
  else
    echo evaluation
  fi
}
names=(smoke-groundthink-seed-1 smoke-groundthink-seed-2 smoke-gpt2-seed-1 smoke-gpt2-seed-2 "" "")

# Runs one command until it has ended by itself, interrupting it at random, thirty times at most (a report four times):
# times are measured in one go. What struck, and where, goes to a file.
until_done() { # what number out command…
  local what=$1 number=$2 out=$3 struck=0 most=30 shortest=0.05 span=400 status signal pid where
  shift 3
  if [ "$what" = report ]; then shortest=0.002 span=40 most=4; fi
  while :; do
    "$@" >>"$folder/log.$what" 2>&1 &
    pid=$!
    signal=KILL
    [ $((RANDOM % 4)) -ne 0 ] || signal=TERM
    # As often short as long: from a twentieth of a second to twenty; a report takes less.
    sleep "$(awk -v r="$RANDOM" -v s="$shortest" -v n="$span" 'BEGIN { printf "%.3f", s * exp(r / 32767 * log(n)) }')"
    where=$what
    [ "$what" = report ] || where=$(stage "$number" "$out" "${names[$number]}")
    [ "$struck" -lt "$most" ] && kill -"$signal" "$pid" 2>/dev/null || signal=none
    status=0
    wait "$pid" 2>/dev/null || status=$?
    case "$status" in
      0) return ;;
      10 | 11) [ "$what" = report ] && return ;;
    esac
    case "$status" in
      137 | 143 | 75)
        [ "$signal" = none ] || echo "$where $signal" >>"$folder/struck"
        struck=$((struck + 1))
        ;;
      *)
        echo "FAIL: $what, exit code $status after $signal"
        tail -n 5 "$folder/log.$what"
        return 1
        ;;
    esac
  done
}

echo "the undisturbed run"
"$binary" run --protocol "$protocol" --out "$folder/whole" >"$folder/log" 2>&1 || test $? -eq 10 -o $? -eq 11
round=0
: >"$folder/struck"
while [ "$(wc -l <"$folder/struck")" -lt "$wanted" ]; do
  round=$((round + 1))
  out=$folder/out
  rm -rf "$out"
  for pair in "0 2" "1 3" "4 5"; do
    jobs=()
    for number in $pair; do
      RANDOM=$((${SEED:-$$} + 1000 * round + number))
      until_done "task-$number" "$number" "$out" "$binary" run --protocol "$protocol" --out "$out" --task "$number" &
      jobs+=("$!")
    done
    for job in "${jobs[@]}"; do wait "$job"; done
  done
  for _ in $(seq 5); do until_done report "" "$out" "$binary" report "$out"; done
  python3 - "$folder" <<'PY'
import glob, json, sys

TIMES = {"train_seconds", "train_tokens_per_second", "audit_costs"}

def read(folder):
    found = {}
    for path in glob.glob(f"{folder}/ledger.jsonl") + glob.glob(f"{folder}/runs/*/ledger.jsonl"):
        for line in open(path):
            m = json.loads(line).get("measurement")
            # What an audit draws follows from the time that a training took; that it is there and in bounds counts.
            if m and m["provenance"]["probe"] != "efficiency" and m["metric"] not in TIMES:
                of = m["subject"]
                key = (of["model"], of["scale"], of["seed"], of["condition"], m["metric"])
                audited = m["provenance"]["probe"] == "audit"
                value = m["value"] <= 1 if audited else [m["value"], m.get("n"), m.get("interval"), m.get("items")]
                found.setdefault(key, set()).add(json.dumps([value, m["provenance"]], sort_keys=True))
    return found

def findings(folder):
    report = json.load(open(f"{folder}/report.json"))
    rows = report["findings"]
    times = ("efficiency", "positioning", "practical thresholds", "decisions", "V5 gate", "long context")
    measured = ("efficiency-of-its-parts", "training-memory-alike", "latency-is-inverse-speed", "hours-alike", "audit-costs")
    kept = (f for f in rows if f["group"] not in times and f["criterion"] not in measured)
    return {(f["criterion"], f["scale"]): f["status"] for f in kept}

fleet, whole = read(f"{sys.argv[1]}/out"), read(f"{sys.argv[1]}/whole")
wrong = [key for key in fleet.keys() | whole.keys() if fleet.get(key) != whole.get(key)]
# Rows about times, and rows that are made of such.
told, expected = findings(f"{sys.argv[1]}/out"), findings(f"{sys.argv[1]}/whole")
wrong += [key for key in told.keys() | expected.keys() if told.get(key) != expected.get(key)]
for key in wrong[:5]:
    print("FAIL:", key, fleet.get(key) or told.get(key), whole.get(key) or expected.get(key))
sys.exit(bool(wrong or not whole))
PY
  left=$(find "$out" -name '.writing-*' -o -name 'step-*' -o -name '*.tmp' | wc -l)
  if [ "$left" -ne 0 ]; then
    echo "FAIL: left behind:"
    find "$out" -name '.writing-*' -o -name 'step-*' -o -name '*.tmp'
    exit 1
  fi
  echo "round $round: the same evidence; $(wc -l <"$folder/struck") interruptions so far"
done
sort "$folder/struck" | uniq -c
if pgrep -f "$folder/out" >/dev/null; then
  echo "FAIL: a process is left" && exit 1
fi
echo "PASS: $(wc -l <"$folder/struck") interruptions ($(grep -c KILL "$folder/struck") by SIGKILL) in $round rounds; the evidence is that of an undisturbed run"
