#!/usr/bin/env bash
# Trains on one domain without and with GenMix, adapts both models to another by LEAD, scores
# all four and writes a report:
#   bash scripts/adapt_pair.sh SOURCE TARGET SCENARIO [flags of uda train and uda adapt]
#   DATASET=office_home bash scripts/adapt_pair.sh Art Clipart opda --seed 1 --runs runs/office_home
# DATASET    a dataset with a file configs/experiments/DATASET_SCENARIO.yaml (emoji_home)
# CONFIG     another experiment's file than that
# JOBS       2 runs the arms without and with GenMix side by side (the default), 1 in turn
# Stopped anywhere, the same command goes on from the last finished epoch.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
source=$1 target=$2 scenario=$3
shift 3
root=$(cd "$(dirname "$0")/.." && pwd)
config=${CONFIG:-$root/configs/experiments/${DATASET:-emoji_home}_$scenario.yaml}
jobs=${JOBS:-2}
if [ ! -f "$config" ]; then
    echo "adapt_pair.sh: no file $config; SCENARIO is opda, osda or pda, and DATASET names a" \
        "dataset with such files; or name a file with CONFIG" >&2
    exit 2
fi
if ! command -v uda > /dev/null; then
    PATH="$root/.venv/bin:$PATH"
    if ! command -v uda > /dev/null; then
        echo "adapt_pair.sh: the project is not installed; run bash scripts/quickstart.sh once, or" \
            "pip install -e ." >&2
        exit 2
    fi
fi
runs=runs
for ((i = 1; i <= $#; i++)); do  # the report is written where the runs are
    case "${!i}" in
        --runs=*) runs=${!i#--runs=} ;;
        --runs) next=$((i + 1)); runs=${!next} ;;
    esac
done
cores=$(env -u OMP_NUM_THREADS nproc 2> /dev/null || echo 2)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores > jobs ? cores / jobs : 1))}"

arm() {
    local common=("$config" --data.source "$source" --data.target "$target"
        --data.scenario "$scenario" "${@:2}" --augment.name "$1")
    uda train "${common[@]}"
    uda adapt "${common[@]}" --adapt.method source_only
    uda adapt "${common[@]}" --adapt.method lead
}

stop() {  # both arms, with the processes that they started
    trap - EXIT INT TERM
    trap '' USR1
    local group
    while [ -n "$(jobs -pr)" ]; do  # again: an arm that is just starting loses a signal
        for group in $(jobs -pr); do
            kill -- "-$group" 2> /dev/null || true
        done
        sleep 0.1
    done
}

if [ "$jobs" -gt 1 ]; then
    set -m  # each arm is a process group, to be stopped as a whole
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 1' USR1  # an arm that fails ends the script, and the other arm
    { trap '[ $? = 0 ] || kill -s USR1 $$' EXIT; TQDM_POSITION=0 arm none "$@"; } &
    { trap '[ $? = 0 ] || kill -s USR1 $$' EXIT; TQDM_POSITION=1 arm genmix "$@"; } &
    while [ -n "$(jobs -pr)" ]; do  # a signal just before `wait` would be seen after it
        sleep 0.2
    done
    trap - EXIT INT TERM USR1
else
    arm none "$@"
    arm genmix "$@"
fi
echo
uda report "$runs"
