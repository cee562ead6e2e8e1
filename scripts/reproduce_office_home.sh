#!/usr/bin/env bash
# From Office-Home's folder to Tables 6-8 of the GenMix paper: OPDA, OSDA and PDA, twelve pairs,
# Source-only and LEAD, each without and with GenMix, then the tables:
#   bash scripts/reproduce_office_home.sh data/office_home --dry-run     what it needs, and no more
#   bash scripts/reproduce_office_home.sh data/office_home [flags of uda sweep]
# SEEDS      ("0 1 2")
# RUNS       folder of the runs and tables (runs/office_home)
# WORKERS    runs at a time (1; with several GPUs, one for each)
# STORE      folder of GenMix's edits (data/edits)
# GENMIX_EDITOR  filters, on the CPU (the default), or instruct-pix2pix, the paper's: its edits are
#            made first, by a worker for each GPU
# Stopped anywhere, the same command goes on where it was; several machines can share RUNS.
# The figures that the dry run reckons with, of a data-centre GPU; they are guesses, not measured:
# TRAIN_PER_SECOND (400), FORWARD_PER_SECOND (1200)  images of 224 px through ResNet-50, float32
# EDITS_PER_SECOND (0.3 with instruct-pix2pix at 100 steps of 512 px; 100 with filters, one core)
set -euo pipefail
if [ $# -lt 1 ]; then
    sed -n '2,16s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
seeds=${SEEDS:-0 1 2}
runs=${RUNS:-runs/office_home}
store=${STORE:-data/edits}
editor=${GENMIX_EDITOR:-filters}
dry=no
flags=()
for word in "$@"; do
    if [ "$word" = --dry-run ]; then dry=yes; else flags+=("$word"); fi
done
if ! command -v uda > /dev/null; then
    PATH="$root/.venv/bin:$PATH"
    if ! command -v uda > /dev/null; then
        echo "reproduce_office_home.sh: the project is not installed; run bash" \
            "scripts/quickstart.sh once, or pip install -e ." >&2
        exit 2
    fi
fi
if [ "$editor" != filters ]; then
    flags+=("--augment.options.genmix.editor=$editor" "--augment.options.genmix.screening=features")
fi

sweep() {  # a scenario; further flags
    uda sweep "$root/configs/experiments/office_home_$1.yaml" --data.root "$data" --runs "$runs" \
        --store "$store" --workers "${WORKERS:-1}" --sweep.seeds "[${seeds// /, }]" "${@:2}" ${flags[@]+"${flags[@]}"}
}

needs() {
    case "$editor" in filters) edits_per_second=${EDITS_PER_SECOND:-100} ;;
        *) edits_per_second=${EDITS_PER_SECOND:-0.3} ;; esac
    awk -v seeds="$(wc -w <<< "$seeds")" -v train="${TRAIN_PER_SECOND:-400}" \
        -v forward="${FORWARD_PER_SECOND:-1200}" -v edits="$edits_per_second" -v editor="$editor" '
    function hours(scenario, source, target) {  # shares of the classes that each side has
        # 50 passes for each source model; 50 and their 51 evaluations for each of 3 targets
        s = 2 * seeds * 50 * images * source / train / 3600
        a = 2 * seeds * 3 * images * target * (50 / train + 52 / forward) / 3600
        printf "%-5s %8.0f %16.0f\n", scenario, s, a
        total += s + a
    }
    BEGIN {
        images = 15588
        printf "Office-Home, %d images, ResNet-50, LEAD'"'"'s settings, %d seeds; reckoned with %g\n", images, seeds, train
        printf "training and %g forward images a second (TRAIN_PER_SECOND, FORWARD_PER_SECOND):\n\n", forward
        print "GPU h   source       adaptation"
        hours("OPDA", 15 / 65, 60 / 65); hours("OSDA", 25 / 65, 65 / 65); hours("PDA", 65 / 65, 25 / 65)
        printf "\nabout %.0f GPU hours in all\n", total
        minutes = images / edits / 60
        printf "%d edits by %s at %g a second (EDITS_PER_SECOND): ", images, editor, edits
        printf (minutes < 100 ? "%.0f minutes\n" : "%.0f hours\n"), (minutes < 100 ? minutes : minutes / 60)
        # MB: a source model with its optimiser; LEAD with banks of 51 epochs; Source-only
        runs = 3 * seeds * (8 * 190 + 24 * (190 + 100) + 24 * 97) / 1000
        printf "about %.0f GB for %d runs, %.1f GB for edits at 256 px\n\n", runs, 3 * seeds * 56, images * 1e-4
    }'
}

if [ "$dry" = yes ]; then
    needs
    for scenario in opda osda pda; do
        sweep "$scenario" --dry-run
    done
    exit
fi
real="Real World"
for name in Realworld RealWorld real_world Real_World; do  # as configs/datasets/office_home.yaml
    if [ ! -d "$data/$real" ] && [ -d "$data/$name" ]; then real=$name; fi
done
for domain in Art Clipart Product "$real"; do
    if [ ! -d "$data/$domain" ]; then
        echo "reproduce_office_home.sh: no folder $data/$domain; unpack Office-Home so that" \
            "$data holds Art, Clipart, Product and 'Real World'" >&2
        exit 2
    fi
done
if [ "$editor" != filters ]; then
    gpus=$(python3 -c 'import torch; print(torch.cuda.device_count())' 2> /dev/null || echo 1)
    for domain in Art Clipart Product "$real"; do
        genmix edit "$data/$domain" --store "$store" --square-px 256 --per-image 1 \
            --editor "$editor" --features uda.models.imagenet:imagenet_features \
            --workers "$((gpus > 1 ? gpus : 1))"
    done
fi
failed=no
for scenario in opda osda pda; do  # a failed scenario does not stop the others
    sweep "$scenario" || failed=yes
done
uda report "$runs" --root "$data"
[ "$failed" = no ]
