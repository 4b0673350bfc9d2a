#!/usr/bin/env bash
# Everything that the detector of races (kernels/races.cpp) can look at, which takes longer than a test may: every
# op's cases and whole trainings with every access to memory checked, and every barrier left out once.
#
#   scripts/races.sh [OUT]      OUT: a folder for the tables, target/races unless given
#
# OUT/barriers.md  what shows that a barrier is missing, for each barrier of each kernel
# OUT/traffic.md   replays of shared memory's banks and bytes moved per byte used, for each kernel
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/races}
rm -rf "$out" && mkdir -p "$out"
out=$(realpath "$out")

kernels=(cargo test --release --locked --test kernels --)
"${kernels[@]}" races:: --include-ignored 2>"$out/log"
{
  echo '| barrier | | missing, it shows as |'
  echo '|---|---|---|'
  grep '^| .*\.cuh\?:[0-9]* | ' "$out/log"
} >"$out/barriers.md"
V5_RACES=1 "${kernels[@]}" emulated:: --include-ignored
V5_TRAFFIC=$out/traffic.md V5_RACES=1 "${kernels[@]}" emulated:: --skip training --skip loss_in_parts
echo "$(grep -c '^| .*:[0-9]* | ' "$out/barriers.md") barriers in $out/barriers.md, traffic in $out/traffic.md"
