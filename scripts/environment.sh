# Sourced by the other scripts, from the repository's root: makes .venv and installs the project
# into it. Both are re-used; setup.cfg or setup.py changing, or an installation that did not finish,
# redoes it.
# PYTHON names another interpreter than python3; the first argument is an extra, such as dev.

environment_extra="${1:-}"
environment_python="${PYTHON:-python3}"
if ! "$environment_python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "Python 3.10 or newer is needed; name one with PYTHON=/path/to/python" >&2
    exit 1
fi
if [ ! -x .venv/bin/python ]; then
    "$environment_python" -m venv .venv
elif ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
    .venv/bin/python -m ensurepip > /dev/null  # its making was cut short, or another tool made it
fi
. .venv/bin/activate
environment_mark=".venv/installed-${environment_extra:-main}"
if ! cat setup.cfg setup.py | cmp -s - "$environment_mark"; then
    echo "Installing into .venv: PyTorch and the rest, some minutes the first time"
    # torch and torchvision in the same step, so that pip takes releases that belong together.
    python -m pip install --quiet "torch>=2.6" "torchvision>=0.21"
    python -m pip install --quiet --editable ".${environment_extra:+[$environment_extra]}"
    cat setup.cfg setup.py > "$environment_mark"
fi
