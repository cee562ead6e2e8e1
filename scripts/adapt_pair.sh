#!/usr/bin/env bash
# Trains on one domain without and with GenMix, adapts both models to another one by LEAD, scores
# all four and writes a report:
#   bash scripts/adapt_pair.sh SOURCE TARGET SCENARIO [flags of uda train and uda adapt]
#   DATASET=office_home bash scripts/adapt_pair.sh Art Clipart opda --seed 1
# DATASET    a dataset with a file configs/experiments/DATASET_SCENARIO.yaml (emoji_home)
# CONFIG     another experiment's file than that
# JOBS       2 runs the arms without and with GenMix side by side (the default), 1 one by one
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
runs=runs
for ((i = 1; i <= $#; i++)); do  # the report is written where the runs are
    case "${!i}" in
        --runs=*) runs=${!i#--runs=} ;;
        --runs) next=$((i + 1)); runs=${!next} ;;
    esac
done
cores=$(nproc 2> /dev/null || echo 2)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores > jobs ? cores / jobs : 1))}"

arm() {
    local common=("$config" --data.source "$source" --data.target "$target"
        --data.scenario "$scenario" "${@:2}" --augment.name "$1")
    uda train "${common[@]}"
    uda adapt "${common[@]}" --adapt.method source_only
    uda adapt "${common[@]}" --adapt.method lead
}

if [ "$jobs" -gt 1 ]; then
    trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
    TQDM_POSITION=0 arm none "$@" &
    first=$!
    TQDM_POSITION=1 arm genmix "$@" &
    second=$!
    wait "$first"
    wait "$second"
    trap - EXIT
else
    arm none "$@"
    arm genmix "$@"
fi
echo
uda report "$runs" --title "$source to $target, ${scenario^^}"
