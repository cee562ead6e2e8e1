#!/usr/bin/env bash
# GenMix and LEAD on real pictures, in a single command: installs the project into .venv, builds the
# benchmark EmojiHome, trains on Twemoji without and with GenMix, adapts both models to Fluent3D by
# LEAD, and writes runs/quickstart/report.md. About seven minutes on two cores after the installation.
#   bash scripts/quickstart.sh          seed 0
#   bash scripts/quickstart.sh 0 1 2    three seeds, as in docs/experiments.md
# Stopped anywhere, the same command goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
uda data emoji-home
for seed in "${@:-0}"; do
    bash scripts/adapt_pair.sh Twemoji Fluent3D opda --runs runs/quickstart --seed "$seed"
done
