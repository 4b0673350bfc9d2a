#!/usr/bin/env bash
# What only a GPU can show, on a machine that has one and little else: a driver, python3 with PyTorch (for CUDA
# 13) and, for the second part, compute-sanitizer. No Rust, no compiler, no network.
#
#   scripts/gpu.sh pack DIR                      builds, and puts all that is needed there into DIR
#   DIR/gpu.sh run DIR OUT [SECONDS [PART..]]    does PARTs in their order, in at most SECONDS (540)
#
# a  every op and whole trainings through their kernels, in float32 and bfloat16, against the CPU
# b  the same ops under compute-sanitizer
# c  the gate on SMOKE, and its times and memory
# d  times and memory beside PyTorch's (benches/peers/README.md); CASES names the cases
# e  QUICK, or what V5_PROTOCOL names, until time is up
#
# pack takes: V5_DATA, a folder with what PACK_DATA names (as it is, or as NAME.xz), for e; NANOGPT and MAMBA,
# checkouts of nanoGPT and of mamba-ssm, for d; PACK_LIMIT, in MiB.
#
# Each part has a limit of its own, by its weight in what time is left, and nothing that becomes of it keeps the next
# from starting. As soon as it ends, and a note when it begins, OUT has N-PART.log, and of the gate N-PART.evidence.tar.xz
# with ledger and reports, of the table of times N-PART.peers.md; and anew results.json with everything and summary.md
# for reading. N counts on from call to call with the same OUT: nothing is overwritten, and without PARTs a call does
# those that have not been ok. What the gate has collected stays in WORK (OUT.work), where the next call goes on.
set -euo pipefail
fail() { echo "gpu: $1" >&2 && exit 2; }

pack() {
  cd "$(dirname "$0")/.."
  local dir=$1 new staged name path
  # Pure Python, in Triton: PyTorch 2.11 with its Triton 3.6 and transformers 5 suffice.
  local wheels=(flash-linear-attention==0.6.0 fla-core==0.6.0 einops==0.8.2)
  for tool in cargo python3 strip tar xz; do command -v $tool >/dev/null || fail "$tool is missing"; done
  [ ! -e "$dir" ] || [ -e "$dir/pack.tar.xz" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir holds something else"
  rm -rf "$dir" && mkdir -p "$dir"
  dir=$(realpath "$dir") staged=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$staged'" EXIT
  mkdir "$staged/bin" "$staged/python"

  if ! command -v nvcc >/dev/null; then
    scripts/cuda-toolkit.sh
    . "${CUDA_TOOLKIT_DIR:-target/cuda-toolkit}/env.sh"
  fi
  local built=$staged/built
  cargo test --release --locked --features cuda --no-run --test kernels --test gate \
    --message-format=json-render-diagnostics >"$built"
  cargo bench --locked --features cuda --no-run --bench gate --bench training --bench inference --bench peers \
    --message-format=json-render-diagnostics >>"$built"
  while read -r name path; do
    strip -o "$staged/bin/$name" "$path"
  done < <(python3 -c 'import json, sys
for line in open(sys.argv[1]):
    a = json.loads(line)
    if a.get("executable") and a["target"]["kind"][0] in ("bin", "test", "bench"):
        kind, name = a["target"]["kind"][0], a["target"]["name"]
        print("times" if (kind, name) == ("bench", "gate") else name, a["executable"])' "$built")
  rm "$built"
  for name in v5gate kernels gate times training inference peers; do
    [ -x "$staged/bin/$name" ] || fail "cargo built no $name"
  done

  cp benches/peers/torch_side.py "$staged/python/"
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps --no-compile --only-binary=:all: \
    --target "$staged/python" "${wheels[@]}" || echo "gpu: without ${wheels[*]}" >&2
  if [ -n "${NANOGPT:-}" ]; then cp "$NANOGPT/model.py" "$staged/python/"; fi
  if [ -n "${MAMBA:-}" ]; then cp -r "$MAMBA/mamba_ssm" "$staged/python/"; fi
  find "$staged" -name '__pycache__' -prune -exec rm -rf {} +

  # One archive: what programs have in common is stored once.
  tar -C "$staged" --sort=name -c bin python | xz -9 --lzma2=preset=9,dict=256MiB >"$dir/pack.tar.xz"
  cp scripts/gpu.sh "$dir/"
  if [ -n "${V5_DATA:-}" ]; then
    for name in ${PACK_DATA:-pretrain/wiki_en.train.txt pretrain/wiki_en.valid.txt gpt2_tokenizer/tokenizer.json}; do
      mkdir -p "$dir/data/$(dirname "$name")"
      if [ -e "$V5_DATA/$name.xz" ]; then
        cp "$V5_DATA/$name.xz" "$dir/data/$name.xz"
      else
        xz -9 -c "$V5_DATA/$name" >"$dir/data/$name.xz"
      fi
    done
  fi
  chmod -R u+w "$dir"

  local mib limit=${PACK_LIMIT:-64} sources
  sources=$(git ls-files -z 2>/dev/null | xargs -0r cat | wc -c)
  (cd "$dir" && find . -type f -printf '%s %P\n' | sort -rn | awk '{ printf "%7.2f MiB  %s\n", $1 / 1048576, $2 }')
  mib=$(du -sbc "$dir" | awk 'END { printf "%.1f", $1 / 1048576 }')
  echo "$mib MiB in all, and $(awk "BEGIN { printf \"%.1f\", $sources / 1048576 }") MiB of sources"
  awk "BEGIN { exit !($mib * 1048576 + $sources > $limit * 1048576) }" && fail "more than $limit MiB"
  return 0
}

unxz_to() { # from, to
  python3 -c 'import lzma, shutil, sys
with lzma.open(sys.argv[1]) as packed, open(sys.argv[2], "wb") as plain:
    shutil.copyfileobj(packed, plain, 1 << 20)' "$1" "$2"
}

# Seconds that are left, less what packing the results takes.
left() { echo $((deadline - 12 - $(date +%s))); }

# Writes results.json and summary.md of all that lies in OUT; with PART OUTCOME SECONDS REMARK, of this part first.
record() {
  LIMIT=${limit:-0} python3 - "$out" "$number" "$began_at" "${rc:-0}" "$@" <<'PY'
import glob, json, os, re, sys

out, number, call, code, *part = sys.argv[1:]

def write(name, text):
    with open(os.path.join(out, name + ".new"), "w") as file:
        file.write(text)
    os.replace(os.path.join(out, name + ".new"), os.path.join(out, name))

def text(name):
    try:
        with open(os.path.join(out, name), errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""

if part:
    name, outcome, seconds, remark = part
    stem = f"{number}-{name}"
    log = text(stem + ".log")
    trials = re.findall(r"^test (\S+) +\.\.\. (ok|FAILED|ignored)", log, re.M)
    found = {"part": name, "call": call, "outcome": outcome, "exit": int(code), "seconds": int(seconds),
             "limit": int(os.environ["LIMIT"]), "remark": remark, "log": stem + ".log"}
    if trials:
        found["passed"] = sum(how == "ok" for _, how in trials)
        found["failed"] = [which for which, how in trials if how == "FAILED"]
    tables = [line for line in (log + text(stem + ".peers.md")).splitlines() if line.startswith("|")]
    found |= {"tables": tables} if tables else {}
    if os.path.exists(os.environ.get("REPORT", "")):
        with open(os.environ["REPORT"]) as file:
            found["report"] = json.load(file)
    if outcome not in ("ok", "skipped"):
        found["end"] = log.splitlines()[-40:]
    write(stem + ".json", json.dumps(found, indent=1))

def all_of(pattern):
    names = sorted(glob.glob(os.path.join(out, pattern)), key=lambda n: int(os.path.basename(n).split("-")[0]))
    return [json.loads(text(os.path.basename(n))) for n in names]

calls, parts = all_of("[0-9]*-call.json"), all_of("[0-9]*-[a-e].json")
write("results.json", json.dumps({"calls": calls, "parts": parts}, indent=1) + "\n")
lines = ["# On a GPU", ""]
for c in calls:
    lines += [f"{c['began']}, {c['seconds']} s for {c['parts']}", *c["machine"], ""]
lines += ["| | part | outcome | seconds | of | |", "|---|---|---|---|---|---|"]
for p in parts:
    number = p["log"].split("-")[0]
    lines.append(f"| {number} | {p['part']} | {p['outcome']} | {p['seconds']} | {p['limit']} | {p['remark']} |")
write("summary.md", "\n".join(lines) + "\n")
PY
}

# Runs the rest within so many seconds, and sets rc. What is written goes to the log of the part, or to the file TO.
within() {
  local seconds=$1 from=$SECONDS
  shift
  echo "\$ $*  (at most $seconds s)" >>"$log"
  # shellcheck disable=SC2086
  timeout ${GENTLY:---kill-after=10} "$seconds" "$@" >>"${TO:-$log}" 2>>"$log" </dev/null &
  running=$! rc=0
  # What waits for a card that does not answer may be beyond all signals.
  while kill -0 $running 2>/dev/null && [ $((SECONDS - from)) -lt $((seconds + 30)) ]; do sleep 0.2; done
  if kill -0 $running 2>/dev/null; then disown $running && rc=137; else wait $running || rc=$?; fi
  running=
  echo "exit $rc" >>"$log"
}

# Exit codes in words; those that a part calls good, first.
outcome() {
  case " $1 " in *" $rc "*) echo ok && return ;; esac
  case $rc in 124 | 137) echo "out of time" ;; *) echo "failed ($rc)" ;; esac
}

last() { grep -aE "$1" "$log" | tail -n 1 | tr -d '|' | cut -c 1-160 || true; }

# Judges what the part has collected, if it has, without touching its exit code.
report() {
  local code=$rc
  [ -e "$evidence/ledger.jsonl" ] || return 1
  within 20 "$work/bin/v5gate" report "$evidence/ledger.jsonl"
  rc=$code
}

part_a() {
  within "$1" "$work/bin/kernels" cuda::
  remark=$(last '^test result')
  state=$(outcome 0)
  [[ $remark != *" 0 passed"* ]] || state="did not run"
}

part_b() {
  command -v compute-sanitizer >/dev/null || { state=skipped remark="no compute-sanitizer" && return; }
  local tool worst=0 states=""
  for tool in memcheck racecheck; do
    within $(($1 / 2)) compute-sanitizer --tool $tool --error-exitcode 86 --print-limit 20 \
      "$work/bin/kernels" cuda:: --skip training --test-threads 1
    states+="$tool: $(outcome 0), $(last '(ERROR|RACECHECK) SUMMARY' | sed 's/^=* *//'); "
    [ "$rc" = 0 ] || worst=$rc
  done
  rc=$worst remark=$states state=$(outcome 0)
  [ "$state" != ok ] || grep -qE ' [1-9][0-9]* passed' "$log" || state="did not run"
}

part_c() {
  evidence=$work/smoke
  V5_OUT=$evidence V5_PROTOCOL=smoke within "$1" "$work/bin/gate"
  state=$(outcome 0) remark=$(last '^test result')
  if [ "$state" != "out of time" ]; then
    local gate=$rc
    V5_OUT=$evidence V5_PROTOCOL=smoke within "$(($1 - ($(date +%s) - began)))" "$work/bin/times"
    remark+="; times: $(outcome '0 10 11')" rc=$gate
  fi
  report || remark+="; nothing was in the ledger yet"
}

part_d() {
  [ -e "$work/python/model.py" ] || { state=skipped remark="nanoGPT's model.py was not packed" && return; }
  # Compiled before, beside the other parts: waiting here costs less than compiling between measurements.
  if [ -n "${warming:-}" ]; then
    local until=$(($(date +%s) + $1 / 3))
    while kill -0 "$warming" 2>/dev/null && [ "$(date +%s)" -lt $until ]; do sleep 1; done
    stop_warming
  fi
  local peers=$out/$number-d.peers.md
  # shellcheck disable=SC2086
  TO=$peers within "$(($1 - ($(date +%s) - began)))" "$work/bin/peers" --python python3 \
    --side "$work/python/torch_side.py" --nanogpt "$work/python" --compile --tuned --rounds "${ROUNDS:-7}" $CASES
  state=$(outcome 0) remark="$(grep -c ' ms |' "$peers") of $(wc -w <<<"$CASES") cases (${peers##*/})"
}

part_e() {
  local protocol=${V5_PROTOCOL:-quick} data
  [ -d "$here/data" ] || [ -n "${V5_PROTOCOL:-}" ] || { state=skipped remark="no data were packed" && return; }
  mkdir -p "$work/data"
  while read -r data; do
    [ ! -e "$work/data/${data%.xz}" ] || continue
    mkdir -p "$(dirname "$work/data/$data")"
    unxz_to "$here/data/$data" "$work/unpacked" && mv "$work/unpacked" "$work/data/${data%.xz}"
  done < <([ ! -d "$here/data" ] || { cd "$here/data" && find . -name '*.xz'; })
  # It stops in order, for which it takes 20 s at most, and what it has until then can be judged.
  local seconds=$(($1 - 35 - ($(date +%s) - began)))
  [ $seconds -gt 20 ] || { state=skipped remark="no time was left" && return; }
  evidence=$work/run-$(basename "$protocol" .toml)
  GENTLY='--signal=INT --kill-after=25' within $seconds "$work/bin/v5gate" run --protocol "$protocol" \
    --out "$evidence" --data "$work/data"
  state=$(outcome '0 10 11')
  [ $rc != 124 ] || state="stopped in time"
  remark="$protocol: nothing was in the ledger yet"
  report || return 0
  remark="$protocol: $(wc -l <"$evidence/ledger.jsonl") lines in the ledger; $(last 'verdict|PASS|FAIL|INCOMPLETE')"
}

stop_warming() {
  # Its own process group: all that it started, and nothing else.
  [ -z "${warming:-}" ] || kill -- "-$warming" 2>/dev/null || true
  warming=
}

# Whatever this call has started.
stop() {
  [ -z "${running:-}" ] || kill "$running" 2>/dev/null || true
  stop_warming
}

# The number that is next in OUT.
next() { echo $(($(find "$out" -name '[0-9]*-*.json' -printf '%f\n' | sort -n | tail -n 1 | cut -d- -f1 | grep . || echo 0) + 1)); }

# Unpacks into WORK, unless it was.
unpack() {
  local stamp
  stamp=$(sha256sum <"$here/pack.tar.xz")
  [ "$(cat "$work/stamp" 2>/dev/null)" != "$stamp" ] || return 0
  rm -rf "$work/bin" "$work/python"
  unxz_to "$here/pack.tar.xz" "$work/pack.tar"
  tar -C "$work" -xf "$work/pack.tar" && rm "$work/pack.tar"
  echo "$stamp" >"$work/stamp"
}

# Does one part in at most so many seconds, whatever becomes of it.
try() {
  part=$1 limit=$2 log=$out/$number-$1.log state=failed remark='' rc=0 evidence='' began=$(date +%s)
  : >"$log"
  record "$part" "did not end" 0 ''
  "part_$part" "$limit" || true
  # Few and small files: what a run leaves besides is its checkpoints.
  if [ -n "$evidence" ] && [ -d "$evidence" ]; then
    (cd "$evidence" && find . -name 'ledger*.jsonl' -o -name 'report.*' -o -name junit.xml -o -name run.json) |
      tar -C "$evidence" -cJf "$out/$number-$part.evidence.tar.xz" -T - || true
  fi
  if [ "$(stat -c %s "$log")" -gt 8388608 ]; then tail -c 8M "$log" >"$log.end" && mv "$log.end" "$log"; fi
  REPORT=${evidence:+$evidence/report.json} record "$part" "$state" $(($(date +%s) - began)) "$remark"
  case $state in ok | skipped | "stopped in time") ;; *) failed=1 ;; esac
}

run() {
  here=$(realpath "$1")
  mkdir -p "$2" "${WORK:-$2.work}"
  out=$(realpath "$2") work=$(realpath "${WORK:-$2.work}")
  local seconds=${3:-540} each total rest
  deadline=$(($(date +%s) + seconds)) began_at=$(date -u +%FT%TZ) failed=0
  shift $(($# < 3 ? $# : 3))
  for each in "$@"; do [[ $each = [a-e] ]] || fail "expected parts among a b c d e, got $each"; done
  [ -e "$here/pack.tar.xz" ] || fail "$here holds no pack.tar.xz"
  if [ $# = 0 ]; then
    for each in a b c d e; do grep -qs '"outcome": "ok"' "$out"/[0-9]*-$each.json || set -- "$@" $each; done
    [ $# -gt 0 ] || { echo "all parts have been ok" && cat "$out/summary.md" && return 0; }
  fi
  trap stop EXIT
  unpack
  # cuBLAS and its kin, which the programs open when they compute.
  LD_LIBRARY_PATH=$(python3 -c 'import importlib.util, os
spec = importlib.util.find_spec("nvidia")
places = [os.path.join(p, "cu13", "lib") for p in spec.submodule_search_locations] if spec else []
print(":".join(places + [p for p in [os.environ.get("LD_LIBRARY_PATH")] if p]))')
  export LD_LIBRARY_PATH PYTHONPATH=$work/python V5_PROGRAM=$work/bin/v5gate V5_DEVICE=${V5_DEVICE:-cuda}
  export TRITON_CACHE_DIR=$work/triton TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_AUTOTUNING=1
  unset V5_FRESH V5_OUT V5_DATA
  # The most telling first: time may end before the list does.
  CASES=${CASES:-train/gpt2/125M-1k train/groundthink/125M-1k wkv6/b8-1k ssd/b8-1k attention/b8-1k
    cross_entropy/b8-1k generate/gpt2/125M-1k prefill/gpt2/125M-1k train/gpt2/30M-1k train/groundthink/30M-1k
    train/gpt2/8M-1k train/groundthink/8M-1k adamw/125M-1k generate/gpt2/8M-1k generate/groundthink/125M-1k}

  number=$(next)
  {
    timeout -k 5 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null ||
      echo "no nvidia-smi"
    timeout -k 5 60 python3 -c 'import torch, platform
print("python", platform.python_version(), "torch", torch.__version__)' 2>/dev/null || echo "no PyTorch"
  } | python3 -c 'import json, sys
began, seconds, *parts = sys.argv[1:]
machine = sys.stdin.read().splitlines()
print(json.dumps({"began": began, "seconds": int(seconds), "parts": " ".join(parts), "machine": machine}))' \
    "$began_at" "$seconds" "$@" >"$out/$number-call.json"
  record

  # Without a device nothing below could do anything but say so five times.
  log=$work/probe && : >"$log"
  TO=$work/cases within "${PROBE:-60}" "$work/bin/peers" --list
  if [ $rc != 0 ]; then
    remark=$(sed -n 's/^error: //p' "$log" | head -n 1 | tr -d '|')
    for each in "$@"; do
      number=$(next) limit=0
      record "$each" "did not run" 0 "${remark:-the driver: $(outcome 0)}"
    done
    cat "$out/summary.md"
    return 2
  fi

  if [[ " $* " = *" d "* ]] && [ -e "$work/python/model.py" ]; then
    # What PyTorch compiles is kept: beside the parts that measure nothing, several at a time.
    tr -s ' \n' '\n' <<<"$CASES" | grep -v groundthink >"$work/warm"
    set -m
    xargs -a "$work/warm" -P 5 -I{} python3 "$work/python/torch_side.py" {} --device cuda --compile --fused \
      --nanogpt "$work/python" >"$out/$number-warming.log" 2>&1 </dev/null &
    warming=$!
    set +m
  fi

  declare -A weight=([a]=10 [b]=10 [c]=24 [d]=42 [e]=14)
  while [ $# -gt 0 ]; do
    total=0
    for rest in "$@"; do total=$((total + weight[$rest])); done
    number=$(next) limit=$(($(left) * weight[$1] / total))
    if [ "$limit" -lt 5 ]; then
      record "$1" skipped 0 "no time was left"
    else
      try "$1" "$limit"
    fi
    shift
  done
  stop
  cat "$out/summary.md"
  find "$out" -name '*.peers.md' -size +0 -exec cat {} +
  return $failed
}

case "${1:-}" in
  pack) [ $# = 2 ] || fail "pack DIR" && pack "$2" ;;
  run) [ $# -ge 3 ] || fail "run DIR OUT [SECONDS [PART..]]" && shift && run "$@" ;;
  *) fail "pack DIR, or run DIR OUT [SECONDS [PART..]]" ;;
esac
