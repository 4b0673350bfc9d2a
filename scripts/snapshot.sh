#!/usr/bin/env bash
# Copies what is judged of a folder of evidence, its ledger and those of its runs, and the items behind its means, so
# that nothing changes any more and nothing else comes along: plain files only, links are not followed. What another
# program wrote of a reference comes along too, and people's ratings. Of the runs, which stay, it takes down the digests of the trained weights (weights.sha256); a trial without weights is an error.
# Usage: scripts/snapshot.sh EVIDENCE NEW_FOLDER
set -euo pipefail
from=${1:?the folder of evidence}
to=${2:?a folder that is not there yet}
mkdir "$to"
to=$(realpath "$to")
cd "$from"
find . -maxdepth 4 -type f -regextype posix-extended \
  -regex '\./(ledger\.jsonl|runs/[^/]+/(ledger\.jsonl|reference-[0-9a-f]+\.jsonl|items/[^/]+\.json\.gz)|human/[^/]+/(key\.json|ratings-[0-9]+\.csv))' -print0 |
  sort -z | tar --null --files-from=- --create --file=- | tar --extract --file=- --directory="$to"
test -n "$(find "$to" -name ledger.jsonl -print -quit)" || { echo "$from: expected a ledger.jsonl, got none" >&2; exit 1; }
# A file may have become a link meanwhile.
test -z "$(find "$to" ! -type f ! -type d -print -quit)" || { echo "$from: expected plain files" >&2; exit 1; }
for run in runs/*/; do
  case "$run" in
    *-times-seed-*) continue ;;
  esac
  [ -d "$run" ] || continue
  weights=$run"final/model.safetensors"
  [ -f "$weights" ] || { echo "$from/$run: expected trained weights, got none" >&2; exit 1; }
  sha256sum "$weights" >>"$to/weights.sha256"
done
