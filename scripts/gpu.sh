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
# run leaves in OUT summary.md, a log of each part, the table of d, and evidence.tar.xz with ledgers and reports.
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

# Notes what became of a part: its name, the outcome, seconds, a remark.
note() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" >>"$out/summary.md"; }

# Runs the rest within so many seconds, and sets rc. What is written goes to the log of the part.
within() {
  local seconds=$1
  shift
  echo "\$ $*  (at most $seconds s)" >>"$log"
  rc=0
  timeout --kill-after=10 "$seconds" "$@" >>"$log" 2>&1 </dev/null || rc=$?
  echo "exit $rc" >>"$log"
}

# Exit codes in words; those that a part calls good, first.
outcome() {
  case " $1 " in *" $rc "*) echo ok && return ;; esac
  case $rc in 124 | 137) echo "out of time" ;; *) echo "failed ($rc)" ;; esac
}

last() { grep -aE "$1" "$log" | tail -n 1 | tr -d '|' | cut -c 1-160 || true; }

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
  grep -qE ' [1-9][0-9]* passed' "$log" || state="did not run"
}

part_c() {
  V5_OUT=$work/smoke V5_PROTOCOL=smoke within "$1" "$work/bin/gate"
  state=$(outcome 0) remark=$(last '^test result')
  if [ "$state" != "out of time" ]; then
    V5_OUT=$work/smoke V5_PROTOCOL=smoke within "$(($1 - ($(date +%s) - began)))" "$work/bin/times"
    remark+="; times: $(outcome '0 10 11')"
  fi
  within 20 "$work/bin/v5gate" report "$work/smoke/ledger.jsonl"
}

part_d() {
  [ -e "$work/python/model.py" ] || { state=skipped remark="nanoGPT's model.py was not packed" && return; }
  # Compiled before, beside the other parts: waiting here costs less than compiling between measurements.
  if [ -n "${warming:-}" ]; then
    local until=$(($(date +%s) + $1 / 3))
    while kill -0 "$warming" 2>/dev/null && [ "$(date +%s)" -lt $until ]; do sleep 1; done
    stop_warming
  fi
  rc=0
  timeout --kill-after=10 "$(($1 - ($(date +%s) - began)))" "$work/bin/peers" --python python3 \
    --side "$work/python/torch_side.py" --nanogpt "$work/python" --compile --tuned --rounds "${ROUNDS:-7}" \
    $CASES >"$out/peers.md" 2>>"$log" </dev/null || rc=$?
  state=$(outcome 0) remark="$(grep -c ' ms |' "$out/peers.md") of $(wc -w <<<"$CASES") cases (peers.md)"
}

part_e() {
  local protocol=${V5_PROTOCOL:-quick} data
  [ -d "$here/data" ] || { state=skipped remark="no data were packed" && return; }
  while read -r data; do
    mkdir -p "$(dirname "$work/data/$data")"
    unxz_to "$here/data/$data" "$work/data/${data%.xz}"
  done < <(cd "$here/data" && find . -name '*.xz')
  # It stops in order, and what it has until then can be judged.
  local seconds=$(($1 - 25 - ($(date +%s) - began)))
  [ $seconds -gt 20 ] || { state=skipped remark="no time was left" && return; }
  rc=0
  echo "\$ v5gate run --protocol $protocol  (stopped after $seconds s)" >>"$log"
  timeout --signal=INT --kill-after=15 $seconds "$work/bin/v5gate" run --protocol "$protocol" \
    --out "$work/run" --data "$work/data" >>"$log" 2>&1 </dev/null || rc=$?
  state=$(outcome '0 10 11')
  [ $rc != 124 ] || state="stopped in time"
  [ -e "$work/run/ledger.jsonl" ] || { remark="$protocol: nothing was in the ledger yet" && return; }
  within 20 "$work/bin/v5gate" report "$work/run/ledger.jsonl"
  remark="$protocol: $(wc -l <"$work/run/ledger.jsonl") lines in the ledger; $(last 'verdict|PASS|FAIL|INCOMPLETE')"
}

stop_warming() {
  # Its own process group: all that it started, and nothing else.
  [ -z "${warming:-}" ] || kill -- "-$warming" 2>/dev/null || true
  warming=
}

run() {
  here=$(realpath "$1")
  mkdir -p "$2"
  out=$(realpath "$2")
  local seconds=${3:-540} part weights=() total rest share
  deadline=$(($(date +%s) + seconds))
  shift $(($# < 3 ? $# : 3))
  [ $# -gt 0 ] || set -- a b c d e
  for part in "$@"; do [[ $part = [a-e] ]] || fail "expected parts among a b c d e, got $part"; done
  [ -e "$here/pack.tar.xz" ] || fail "$here holds no pack.tar.xz"
  work=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "stop_warming; rm -rf '$work'" EXIT

  unxz_to "$here/pack.tar.xz" "$work/pack.tar"
  tar -C "$work" -xf "$work/pack.tar" && rm "$work/pack.tar"
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

  {
    echo "# On a GPU"
    echo
    echo "$(date -u +%FT%TZ), $seconds s for $*"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
    python3 -c 'import torch, platform; print("python", platform.python_version(), "torch", torch.__version__)' \
      2>/dev/null || echo "no PyTorch"
    echo
    echo "| part | outcome | seconds | |"
    echo "|---|---|---|---|"
  } >"$out/summary.md"

  # Without a device nothing below could do anything but say so five times.
  local why
  if ! why=$("$work/bin/peers" --list 2>&1 >"$work/cases"); then
    why=$(head -n 1 <<<"$why" | sed 's/^error: //' | tr -d '|')
    for part in "$@"; do note "$part" "did not run" 0 "$why"; done
    cat "$out/summary.md"
    return 2
  fi

  if [[ " $* " = *" d "* ]] && [ -e "$work/python/model.py" ]; then
    # What PyTorch compiles is kept: beside the parts that measure nothing, several at a time.
    tr -s ' \n' '\n' <<<"$CASES" | grep -v groundthink >"$work/warm"
    set -m
    xargs -a "$work/warm" -P 5 -I{} python3 "$work/python/torch_side.py" {} --device cuda --compile --fused \
      --nanogpt "$work/python" >"$out/d.log" 2>&1 </dev/null &
    warming=$!
    set +m
  fi

  local failed=0
  declare -A weight=([a]=10 [b]=10 [c]=24 [d]=42 [e]=14)
  while [ $# -gt 0 ]; do
    part=$1 log=$out/$part.log total=0
    for rest in "$@"; do total=$((total + weight[$rest])); done
    share=$(($(left) * weight[$part] / total))
    shift
    if [ "$share" -lt 5 ]; then
      note "$part" skipped 0 "no time was left"
      continue
    fi
    state=failed remark='' rc=0 began=$(date +%s)
    part_$part "$share" || true
    note "$part" "$state" $(($(date +%s) - began)) "$remark"
    case $state in ok | skipped | "stopped in time") ;; *) failed=1 ;; esac
  done
  stop_warming

  # Few and small files: what a run leaves besides is its checkpoints.
  (cd "$work" && find smoke run -name 'ledger.jsonl' -o -name 'report.*' -o -name junit.xml -o -name run.json) \
    2>/dev/null | tar -C "$work" -cJf "$out/evidence.tar.xz" -T - || true
  find "$out" -name '*.log' -size +8M -exec truncate -s 8M {} +
  cat "$out/summary.md"
  [ ! -s "$out/peers.md" ] || { echo && cat "$out/peers.md"; }
  return $failed
}

case "${1:-}" in
  pack) [ $# = 2 ] || fail "pack DIR" && pack "$2" ;;
  run) [ $# -ge 3 ] || fail "run DIR OUT [SECONDS [PART..]]" && shift && run "$@" ;;
  *) fail "pack DIR, or run DIR OUT [SECONDS [PART..]]" ;;
esac
