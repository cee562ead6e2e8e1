#!/usr/bin/env bash
# What GenMix, LEAD and this project's own answers give on real pictures, in a single command: installs the project
# into .venv, builds the benchmark EmojiHome, trains on Twemoji with four augmentations, adapts to Fluent3D, and
# writes runs/quickstart/report.md. About nine minutes on two cores after the installation.
#   bash scripts/quickstart.sh          seed 0
#   bash scripts/quickstart.sh 0 1 2    three seeds, as in docs/experiments.md
# JOBS    2 makes two runs at a time, by Ray (the default), 1 one, without Ray
# Stopped anywhere, the same command goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
uda data emoji-home
seeds="${*:-0}"
uda sweep configs/experiments/emoji_home_quickstart.yaml --runs runs/quickstart \
    --workers "${JOBS:-2}" --sweep.seeds "[${seeds// /, }]"
uda report runs/quickstart
