"""Kill commands at random moments, finish them, and compare with undisturbed runs.

    python scripts/bench/kills.py [--kills 100] [--seed 0] [--out kills.jsonl]

Train, adapt, run, sweep of two workers, genmix edit and report, on a few pictures of 32 px, are
killed in turn by SIGKILL, SIGTERM or Ctrl-C (SIGINT to all their processes, as a terminal does), at
a moment drawn evenly from the time that they take undisturbed, and begun again. What they have
written is then compared file by file, without clocks; no process may be left, no temporary file,
and no traceback shown. A line for each kill is added to --out, and the same command goes on there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))  # the tests' pictures

CLOCKS = {"time", "seconds"}
TIMES = re.compile(rb"\d{4}-\d\d-\d\d[T ][\d:.+]+|[\d.]+ (s|min|h)\b")
SIGNALS = ["SIGKILL"] * 8 + ["SIGTERM", "SIGINT"]  # one is drawn for each kill
AGENTS_END_S = 100  # two agents of Ray's look for its killed head for a minute before they end
MARK = "KILLS_PY"  # of the environment of all processes of a command


def commands(folder: Path) -> dict[str, list[list[str]]]:
    """Return, for each command, what is run before it undisturbed, and then itself."""
    from helpers.own_folders import make_folders
    from helpers.tiny import arguments

    tiny = folder.parent / "pictures" / "tiny.yaml"
    if not tiny.exists():
        make_folders(tiny.parent)
    uda, genmix = ([sys.executable, "-m", name] for name in ("uda.cli", "genmix_aug.cli"))
    flags = arguments(tiny, folder / "runs", "--augment.name=genmix", "--data.target=Dark")
    own = ["--source", str(tiny.parent / "my drawings"), "--target", str(tiny.parent / "renders")]
    quick = [flag for flag in flags if not flag.startswith("--data.")]
    train, adapt = [*uda, "train", *flags], [*uda, "adapt", *flags, "--adapt.method=lead"]
    sweep = [*uda, "sweep", *flags, "--sweep.pairs=[Pl2Da]", "--workers=2"]
    edit = [*genmix, "edit", str(tiny.parent / "pictures" / "Plain"), "--per-image=2"]
    return {
        "train": [train],
        "adapt": [train, adapt],
        "run": [[*uda, "run", *own, *quick]],
        "sweep": [sweep],
        "edit": [[*edit, f"--store={folder / 'edits'}"]],
        "report": [train, adapt, [*uda, "report", str(folder / "runs")]],
    }


def start(command: list[str], mark: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own."""
    environment = {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def left(mark: str) -> list[int]:
    """Return the processes of a command that still run."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            is_ours = f"{MARK}={mark}".encode() in path.read_bytes()
            state = (path.parent / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
        except OSError:  # it has ended, or is somebody else's
            continue
        if is_ours and state != "Z":
            pids.append(int(path.parent.name))
    return pids


def _command_line(pid: int) -> str:
    try:
        parts = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "ended"
    return b" ".join(parts).decode(errors="replace")[:120]


def contents(folder: Path) -> dict[str, Any]:
    """Return what each file below a folder holds, without clocks; a store's manifests as one.

    A manifest is named after its process.
    """
    by_name: dict[str, Any] = {}
    for path in _files(folder):
        name = str(path.relative_to(folder))
        if path.parent.name == "manifest":
            name = str(path.parent.relative_to(folder))
            by_name[name] = sorted({*by_name.get(name, []), *content(path)})
        else:
            by_name[name] = content(path)
    return by_name


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def content(path: Path) -> Any:
    """Return a hash of a file, or its lines or tensors in a form that can be compared."""
    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        return hashlib.sha256(repr(_flat(state)).encode()).hexdigest()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays}
    if path.suffix == ".jsonl":
        return sorted(json.dumps(line, sort_keys=True) for line in _lines(path))
    return hashlib.sha256(TIMES.sub(b"", path.read_bytes())).hexdigest()


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return a file's lines without clocks, the last of each kind and epoch."""
    lines: dict[Any, dict[str, Any]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines()):
        line = {key: value for key, value in json.loads(text).items() if key not in CLOCKS}
        lines[(line["kind"], line.get("epoch")) if "kind" in line else number] = line
    return list(lines.values())


def _flat(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {str(key): _flat(inner) for key, inner in value.items() if key not in CLOCKS}
    if isinstance(value, (list, tuple)):
        return [_flat(inner) for inner in value]
    return value


def finish(steps: list[list[str]]) -> float:
    """Run the steps undisturbed; return the seconds of the last."""
    for command in steps:
        began = time.monotonic()
        process = start(command, "undisturbed")
        out, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{command[3:5]} ended with {process.returncode}:\n{out}")
    return time.monotonic() - began


def kill_once(name: str, folder: Path, seconds: float, how: signal.Signals, mark: str) -> str:
    """Kill the command once, finish it; return what was wrong, empty if nothing was."""
    *before, command = commands(folder)[name]
    if before:
        finish(before)
    process = start(command, mark)
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        if how is signal.SIGINT:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        out, _ = process.communicate(timeout=60)
    end = time.monotonic() + AGENTS_END_S
    while (pids := left(mark)) and time.monotonic() < end:
        time.sleep(0.2)
    names = [_command_line(pid) for pid in pids]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wrong = [f"{len(pids)} processes left: {names}"] if pids else []
    if "Traceback" in out:
        wrong.append(f"a traceback: {out[-400:]}")
    try:
        finish([command])
    except RuntimeError as error:
        wrong.append(str(error)[-600:])
    return "; ".join(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signals", nargs="+", default=SIGNALS, choices=sorted(set(SIGNALS)))
    parser.add_argument("--out", type=Path, default=Path("kills.jsonl"))
    options = parser.parse_args()
    known = options.out.read_text(encoding="utf-8").splitlines() if options.out.is_file() else []
    with tempfile.TemporaryDirectory(prefix="kills-") as root:
        folder = Path(root) / "work"
        undisturbed, seconds = {}, {}
        for name, steps in commands(folder).items():
            shutil.rmtree(folder, ignore_errors=True)
            finish(steps)  # the first start of a machine takes longer
            shutil.rmtree(folder, ignore_errors=True)
            seconds[name] = finish(steps)
            undisturbed[name] = contents(folder)
            print(f"{name}: {seconds[name]:.1f} s, {len(undisturbed[name])} files", flush=True)
        names = list(seconds)
        for number in range(len(known), options.kills):
            rng = random.Random(f"{options.seed} {number}")
            name = names[number % len(names)]
            how = signal.Signals[rng.choice(options.signals)]
            moment = rng.uniform(0, seconds[name])
            shutil.rmtree(folder, ignore_errors=True)
            wrong = kill_once(name, folder, moment, how, f"{os.getpid()}-{number}")
            after = contents(folder)
            differ = sorted(
                path
                for path in after.keys() | undisturbed[name].keys()
                if after.get(path) != undisturbed[name].get(path)
            )
            if differ:
                wrong += f"; {len(differ)} files differ: {', '.join(differ[:4])}"
            line = {"command": name, "signal": how.name, "after_s": round(moment, 2)}
            line |= {"of_s": round(seconds[name], 2), "wrong": wrong.strip("; ")}
            with open(options.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(number, line, flush=True)
    lines = [json.loads(text) for text in options.out.read_text(encoding="utf-8").splitlines()]
    for name, count in Counter(line["command"] for line in lines).items():
        bad = sum(bool(line["wrong"]) for line in lines if line["command"] == name)
        print(f"{name}: {count} kills, {bad} with something wrong")


if __name__ == "__main__":
    main()
