"""Read files of strangers: valid ones, changed at random in their values and bytes.

    python scripts/fuzz.py --minutes 60 [--seed 0] [--only picture,list] [--log fuzz.log]
    python scripts/fuzz.py --case "picture 0/123" [--keep FOLDER]

A file is either read, or refused with a line that names it. Findings are everything else: other
errors, a message without the file's name, anything started, written or read outside of the file's
folder (Python's audit events), more than 15 s or 4 GiB, a crash, a hang. A finding is printed with
its case, which --case makes again. The readers are in tests/helpers/strangers.py; pytest runs a few
hundred cases.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import resource
import select
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

BATCH = 400  # cases of a process: what libraries leak, ends with it
HANG_SECONDS = 60
ADDRESS_SPACE = 12 * 2**30


def work(cases: list[tuple[str, str]], pipe: int) -> None:
    """Run cases, and say of each that it begins and how it ends."""
    from helpers.fuzzing import run_case

    limit = resource.RLIMIT_AS
    resource.setrlimit(limit, (ADDRESS_SPACE, resource.getrlimit(limit)[1]))
    faulthandler.dump_traceback_later(HANG_SECONDS - 5, repeat=True)
    for name, seed in cases:
        os.write(pipe, f"begin\t{name}\t{seed}\n".encode())
        faulthandler.dump_traceback_later(HANG_SECONDS - 5)
        outcome = run_case(name, seed)
        text = outcome.text if outcome.kind == "finding" else ""
        os.write(pipe, f"{outcome.kind}\t{text!r}\n".encode()[:3000].rstrip(b"\n") + b"\n")


def run_batch(cases: list[tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    """Run cases in a process of their own; return (reader, seed, kind, text) of each."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        code = 1
        try:
            work(cases, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    rows: list[tuple[str, str, str, str]] = []
    rest, current = b"", ("", "")
    while True:
        ready, _, _ = select.select([reading], [], [], HANG_SECONDS)
        if not ready:
            os.kill(child, signal.SIGKILL)
            rows.append((*current, "finding", f"a hang of {HANG_SECONDS} s"))
            current = ("", "")
            break
        data = os.read(reading, 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            kind, _, text = line.decode(errors="replace").partition("\t")
            if kind == "begin":
                name, _, seed = text.partition("\t")
                current = (name, seed)
            else:
                rows.append((*current, kind, text))
                current = ("", "")
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if current != ("", ""):
        rows.append((*current, "finding", f"the process died: status {status}"))
    return rows


def kind_of(text: str) -> str:
    """Return what findings of the same fault have in common: the error and where it came from."""
    head, _, line = text.strip("'\"").rpartition("[")
    return f"{head.split(':')[0][:30]} [{line}" if ".py:" in line else text[:50]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", default="", help="readers, with commas")
    parser.add_argument("--case", default="", help="READER SEED of a finding")
    parser.add_argument("--keep", type=Path, help="folder for the files of --case")
    parser.add_argument("--log", type=Path, help="file to add each finding to")
    options = parser.parse_args()
    import torch
    from helpers.fuzzing import READERS, run_case

    torch.set_num_threads(1)
    if options.case:
        name, _, seed = options.case.rpartition(" ")
        outcome = run_case(name, seed, options.keep)
        print(outcome.kind, outcome.text, sep="\n")
        return outcome.kind == "finding"
    names = [name.strip() for name in options.only.split(",") if name.strip()] or list(READERS)
    for name in names:  # modules and samples are loaded once, before the processes fork
        run_case(name, "first")
    began = time.monotonic()
    counts: Counter[tuple[str, str]] = Counter()
    known: Counter[str] = Counter()

    def say(text: str) -> None:
        print(text, flush=True)
        if options.log:
            with open(options.log, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text + "\n")

    def fuzz() -> None:
        number = 0
        while time.monotonic() - began < 60 * options.minutes:
            rng = Random(f"{options.seed} {number}")
            chosen = rng.choices(names, [READERS[name].weight for name in names], k=BATCH)
            todo = [(name, f"{options.seed}/{number + k}") for k, name in enumerate(chosen)]
            while todo:
                rows = run_batch(todo)
                for name, seed, kind, text in rows:
                    counts[name, kind] += 1
                    if kind != "finding":
                        continue
                    known[kind_of(text)] += 1
                    if known[kind_of(text)] == 1:
                        details = text.encode().decode("unicode_escape", errors="replace")
                        say(f"--- {name} {seed}: {details}")
                todo = todo[max(len(rows), 1) :]
            number += BATCH

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        fuzz()
    except KeyboardInterrupt:  # the counts so far are printed
        say("Stopped.")
    minutes = (time.monotonic() - began) / 60
    for name in names:
        kinds = {kind: counts[name, kind] for kind in ("read", "refused", "finding", "unmade")}
        say(f"{name}: " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()))
    findings = sum(count for (_, kind), count in counts.items() if kind == "finding")
    made = sum(count for (_, kind), count in counts.items() if kind != "unmade")
    say(f"{made:,} cases in {minutes:.1f} min, {findings} findings")
    for kind, count in known.most_common():
        say(f"  {count:5} {kind}")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
