#!/usr/bin/env bash
# A fleet on this machine: Slurm with two nodes of one processor each, on which a protocol runs as an array while one
# task is preempted, one node dies and a time limit strikes; then a job judges, and its evidence must be that of a
# plain `v5gate run`, number for number but for times. Needs root and Debian's packages slurm-wlm and munge, which it
# installs where they are missing; leaves nothing running.
# Usage: scripts/fleet-test.sh [BINARY] [PROTOCOL] [PREEMPTIONS] [MINUTES] [WHOLE]
# MINUTES is the time limit of a task, which gets its signal a minute before; WHOLE a folder of evidence that a plain
# `v5gate run` of the same binary has filled, which is made anew where none is named.
set -euo pipefail
binary=$(realpath "${1:-target/release/v5gate}")
protocol=${2:-smoke}
preemptions=${3:-1}
minutes=${4:-2}
whole=${5:+$(realpath "$5")}
folder=$(mktemp -d)
host=$(hostname -s)
start=$(date +%s)
say() { printf '%4d s  %s\n' $(($(date +%s) - start)) "$*"; }

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  apt-get update -qq && apt-get install -y -qq slurm-wlm munge >/dev/null
fi

end() {
  status=$?
  trap '' TERM INT HUP
  scancel --user=root 2>/dev/null || true
  sleep 1
  # No other Slurm was here when this one began. One name at a time: pgrep and pkill take a pattern of more than 15
  # characters for a name that no process has.
  for daemon in slurmctld slurmd slurmstepd; do pkill -x "$daemon" 2>/dev/null || true; done
  for _ in $(seq 20); do
    pgrep -x slurmctld >/dev/null || pgrep -x slurmd >/dev/null || pgrep -x slurmstepd >/dev/null || break
    sleep 0.5
  done
  for daemon in slurmctld slurmd slurmstepd; do pkill -KILL -x "$daemon" 2>/dev/null || true; done
  pkill -KILL -f "$folder/" 2>/dev/null || true
  if [ -e "$folder/munged.pid" ]; then kill "$(cat "$folder/munged.pid")" 2>/dev/null || true; fi
  if [ "$status" -ne 0 ]; then
    tail -n 5 "$folder"/slurm/*.log "$folder"/out/slurm/*.log 2>/dev/null || true
  fi
  rm -rf "$folder"
  exit "$status"
}

mkdir -p "$folder/slurm" /run/munge
if pgrep -x slurmd >/dev/null || pgrep -x slurmctld >/dev/null; then
  echo "a Slurm is running here already: this test is for a machine without one" >&2
  exit 1
fi
export SLURM_CONF="$folder/slurm.conf"
trap end EXIT
trap 'exit 143' TERM INT HUP
cat >"$SLURM_CONF" <<CONF
ClusterName=v5
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
SlurmctldPort=17100
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/slurm/ended
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
SlurmdTimeout=10
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
StateSaveLocation=$folder/slurm
SlurmctldPidFile=$folder/slurm/ctld.pid
SlurmctldLogFile=$folder/slurm/ctld.log
SlurmdSpoolDir=$folder/slurm/spool.%n
SlurmdPidFile=$folder/slurm/%n.pid
SlurmdLogFile=$folder/slurm/%n.log
NodeName=vm[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17101-17102] CPUs=1 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
CONF
chown munge: /run/munge
if ! pgrep -x munged >/dev/null; then
  runuser -u munge -- munged --pid-file /run/munge/v5.pid && ln -s /run/munge/v5.pid "$folder/munged.pid"
fi
slurmctld
for node in vm1 vm2; do slurmd -N "$node"; done
for _ in $(seq 60); do
  if [ "$(sinfo -h -N -o %t | sort -u | grep -c idle)" -eq 1 ] && [ "$(sinfo -h -N -p low | wc -l)" -eq 2 ]; then break; fi
  sleep 0.5
done
say "Slurm $(sinfo --version | cut -d' ' -f2), nodes: $(sinfo -h -N -p low -o '%n %t' | tr '\n' ' ')"

# One thread each, so that two tasks share the machine as two machines would not.
export RAYON_NUM_THREADS=1
"$binary" fleet --protocol "$protocol" --out "$folder/out" --submit --sbatch=--time="$minutes" 2>"$folder/costs"
cat "$folder/costs"
running() { squeue -h -t R -o '%i %N' | grep _ || true; }
# A process that trains or measures, not one that has just begun.
busy() { pgrep -f "$binary run .*--task" >/dev/null; }
for i in $(seq "$preemptions"); do
  for _ in $(seq 120); do
    if [ "$(running | wc -l)" -ge 1 ] && busy; then break; fi
    sleep 0.5
  done
  sleep $((RANDOM % 10 + 3))
  victim=$(running | head -n 1)
  if [ -z "$victim" ]; then break; fi
  job=$(sbatch --parsable -p high -w "${victim#* }" --output=/dev/null --wrap 'sleep 2')
  say "preemption $i: job $job takes ${victim#* } from task ${victim% *}"
  for _ in $(seq 60); do
    if [ -z "$(squeue -h -j "$job" -o %i 2>/dev/null)" ]; then break; fi
    sleep 0.5
  done
done

sleep 5
kill -KILL "$(cat "$folder/slurm/vm2.pid")"
say "node vm2 is killed, with the task on it: $(running | grep vm2 || echo none)"
for task in $(running | awk '$2 == "vm2" {print $1}'); do
  pid=$(scontrol listpids "$task" 2>/dev/null | awk 'NR > 1 {print $1}' | head -n 1 || true)
  if [ -n "$pid" ]; then kill -KILL "$pid" 2>/dev/null || true; fi
done
pkill -KILL -f "$folder/slurm/spool.vm2" 2>/dev/null || true
sleep 15
say "nodes: $(sinfo -h -N -p low -o '%n %t' | tr '\n' ' ')"
slurmd -N vm2

last=""
for _ in $(seq 1200); do
  queue=$(squeue -h -r -o %i | wc -l)
  if [ "$queue" -eq 0 ]; then break; fi
  if [ "$queue" != "$last" ]; then say "$queue jobs in the queue" && last=$queue; fi
  sleep 0.5
done
if [ -n "$(squeue -h -o %i)" ]; then
  say "FAIL: jobs are left in the queue" && squeue && exit 1
fi
requeued=$(scontrol show job | grep -oE 'Restarts=[0-9]+' | awk -F= '{ n += $2 } END { print n + 0 }')
say "all jobs have ended; Slurm started tasks again $requeued times"
"$binary" fleet --protocol "$protocol" --out "$folder/out" --status
test -s "$folder/out/report.html"

if [ -z "$whole" ]; then
  say "the same by one process"
  whole=$folder/whole
  "$binary" run --protocol "$protocol" --out "$whole" >"$folder/verdict" 2>/dev/null || test $? -eq 11 -o $? -eq 10
fi
python3 - "$folder/out" "$whole" <<'PY'
import glob, json, sys

def read(folder):
    found = {}
    for path in glob.glob(f"{folder}/ledger.jsonl") + glob.glob(f"{folder}/runs/*/ledger.jsonl"):
        for line in open(path):
            line = json.loads(line)
            m = line.get("measurement")
            if m and m["provenance"]["probe"] not in ("efficiency", "audit") and m["metric"] not in TIMES:
                of = m["subject"]
                key = (of["model"], of["scale"], of["seed"], of["condition"], m["metric"])
                told = json.dumps([m["value"], m.get("n"), m.get("interval"), m["provenance"]], sort_keys=True)
                found.setdefault(key, set()).add(told)
    return found

TIMES = {"train_seconds", "train_tokens_per_second"}
fleet, whole = map(read, sys.argv[1:])
# A folder that is kept may hold earlier revisions' evidence too.
revision = lambda text: json.loads(text)[3]["revision"]
mine = {revision(text) for told in fleet.values() for text in told}
whole = {key: {text for text in told if revision(text) in mine} for key, told in whole.items()}
whole = {key: told for key, told in whole.items() if told}
wrong = [key for key in fleet.keys() | whole.keys() if fleet.get(key) != whole.get(key)]
twice = [key for key, told in fleet.items() if len(told) > 1]
print(f"{len(whole)} measurements, {len(wrong)} differ, {len(twice)} told twice")
for key in sorted(wrong)[:5]:
    print(*key, "\n  fleet:", fleet.get(key), "\n  whole:", whole.get(key))
sys.exit(bool(wrong or twice or not whole))
PY
"$binary" judge "$folder/out" >"$folder/of-fleet" || true
say "PASS: the fleet's evidence is that of one process; its verdict: $(grep -m1 -oE 'PASS|FAIL|INCOMPLETE' "$folder/of-fleet")"
