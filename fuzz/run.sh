#!/usr/bin/env bash
# Every fuzz target for SECONDS each, one after the other; needs a nightly compiler and cargo-fuzz.
# Usage: fuzz/run.sh [SECONDS] [TARGET…]
# Prints a line for each target: inputs tried, what was reached, what fell. Ends with 1 if anything fell.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then mapfile -t targets < <(cargo fuzz list); fi
[ -d fuzz/corpus ] || python3 fuzz/seeds.py
fell=0
for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target"
  log=fuzz/corpus/$target.log
  # Slow inputs and those that take much memory are faults too: 10 s and 2 GB for files of at most 64 KB.
  if cargo +nightly fuzz run --sanitizer "${SANITIZER:-none}" "$target" -- -max_total_time="$seconds" \
      -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 >"$log" 2>&1; then
    verdict=nothing
  else
    verdict="something, see $log" && fell=1
  fi
  tried=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  reached=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)
  printf '%-18s %10s inputs, %s, fell: %s\n' "$target" "${tried:-0}" "$reached" "$verdict"
done
exit "$fell"
