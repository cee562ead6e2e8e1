#!/usr/bin/env bash
# Sets up .venv, checks style and types, builds the site of docs/ and runs the tests. Arguments go
# to pytest:
#   bash scripts/test.sh -m "not slow"
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh dev
cores=$(env -u OMP_NUM_THREADS nproc 2> /dev/null || echo 2)
workers=$((cores < 8 ? cores : 8))  # of a single thread each
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
ruff check .
ruff format --check .
mypy
bash scripts/docs.sh
python -m pytest -q -n "$workers" --dist worksteal --durations=5 "$@"
