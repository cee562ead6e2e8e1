#!/usr/bin/env bash
# Sets up .venv, checks style and types, and runs the tests. Arguments go to pytest:
#   bash scripts/test.sh -m "not slow"
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh dev
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
ruff check .
ruff format --check .
mypy
python -m pytest -q --durations=5 "$@"
