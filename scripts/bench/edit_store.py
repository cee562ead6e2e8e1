"""Time what an edit store costs at the size of ImageNet and beyond: its manifest and its files.

    python scripts/bench/edit_store.py [--entries 10000000] [--files 100000] [--folder FOLDER]

The manifest's entries are made up, of 64 writers; so are the edits' files, of which fewer suffice:
what a file costs is a mean. Everything lies in a temporary folder of FOLDER, which is removed
afterwards; ten million entries take 5 GB. Each figure is of a process by itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from genmix_aug.codec import encode
from genmix_aug.editors.base import Editor
from genmix_aug.edits.fill import Filler, Originals
from genmix_aug.edits.keys import attempts
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.verdicts import PIXELS, verdicts

ENTRY_BYTES, WRITERS, PROMPTS = 500, 64, ("snowy", "mosaic", "sunset", "retro comic")


class Named(Editor):
    """An editor that is asked for its name alone."""

    fingerprint = "instruct-pix2pix-v1 timbrooks/instruct-pix2pix steps=100 512 px float16"


def digest_of(number: int) -> str:
    """Return a made-up image digest."""
    return f"{number:040x}"


def write_manifest(store: EditStore, entries: int) -> None:
    """Write a manifest of so many lines by `WRITERS` writers."""
    folder = store.root / "manifest"
    folder.mkdir(parents=True)
    record = {
        "key": "KEY",
        "image": "IMAGE",
        "source": "n01440764/n01440764_NUMBER.JPEG",
        "folder": "/shared/imagenet/train",
        "square_px": 0,
        "prompt": "snowy",
        "seed": 2**63 - 1,
        "editor": Named.fingerprint,
        "attempt": 0,
        "reason": "",
        "scores": {"brightness": 121.53, "contrast": 58.21, "change": 31.07},
        "time": 1.7e9,
    }
    head, after_key, after_image, tail = re.split("KEY|IMAGE|NUMBER", json.dumps(record) + "\n")
    for writer in tqdm(range(WRITERS), desc="manifest", disable=None):
        with open(folder / f"node-{writer}-00000000.jsonl", "w", encoding="utf-8") as file:
            for number in range(writer, entries, WRITERS):
                key, image = os.urandom(20).hex(), digest_of(number)
                file.write(f"{head}{key}{after_key}{image}{after_image}{number}{tail}")


def write_files(store: EditStore, count: int) -> None:
    """Write the files of edits of `count` images, of 128 px."""
    data = encode(torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8), "png")
    filler = filler_of(store, count)
    for number in tqdm(range(count), desc="files", disable=None):
        digest, (_, prompt, seed) = digest_of(number), filler.requests[number]
        path = store.path(next(attempts(digest, prompt, seed, Named.fingerprint)).key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def filler_of(store: EditStore, count: int) -> Filler:
    """Return what fills the store with an edit of each of `count` images."""
    digests = [digest_of(number) for number in range(count)]
    requests = EditPlan(PROMPTS, 1, Named.fingerprint).requests(digests)
    return Filler(store, Named(), Originals((), digests, digests), requests)


def append_lines(store: EditStore, count: int) -> None:
    """Append batches of 16 lines to the manifest, each flushed to the disk."""
    record = {"key": "0" * 40, "reason": "", "source": "x" * 380}
    for _ in range(count // 16):
        store.record([record] * 16)


def measured(work: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Return the seconds of work in a new process, and the GB that it needs at most."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        seconds, peak = pool.apply(_measure, (work, *arguments))
    return seconds, peak


def _measure(work: Callable[..., object], *arguments: object) -> tuple[float, float]:
    began = time.perf_counter()
    work(*arguments)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return time.perf_counter() - began, kilobytes / 1e6


def scan_lines(store: EditStore) -> int:
    """Read every line of the manifest."""
    return sum(1 for _ in store.lines())


def scan_entries(store: EditStore) -> int:
    """Read every entry, as `genmix edit` does at its end."""
    return sum(1 for _ in store.entries())


def scan_verdicts(store: EditStore) -> int:
    """Read what a screen said, as `uda train` does at its start."""
    return len(verdicts(store, PIXELS))


def plan_requests(store: EditStore, count: int) -> None:
    """Say which edits are wanted, and look for none."""
    filler_of(store, count)


def find_missing(store: EditStore, count: int) -> None:
    """Say which edits are wanted, and which of them the store lacks."""
    filler_of(store, count).missing()


def sweep_temporary(store: EditStore) -> None:
    """Look for what killed writers have left."""
    store.remove_abandoned()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    entries, files = options.entries, options.files
    needed = entries * ENTRY_BYTES + files * 60_000
    if shutil.disk_usage(options.folder or tempfile.gettempdir()).free < 2 * needed:
        sys.exit(f"{needed / 1e9:.1f} GB are needed, and as much again should stay free")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = EditStore(Path(folder) / "store")
        write_manifest(store, entries)
        write_files(store, files)
        print(f"{entries:,} entries, {files:,} files")
        rows: list[tuple[str, Callable[..., object], tuple[int, ...], int]] = [
            ("read the manifest's lines", scan_lines, (), entries),
            ("entries, as genmix edit", scan_entries, (), entries),
            ("verdicts, as uda train", scan_verdicts, (), entries),
            ("plan requests", plan_requests, (files,), files),
            ("plan and find missing edits", find_missing, (files,), files),
            ("look for temporary files", sweep_temporary, (), files),
            ("append lines, 16 at a time", append_lines, (32_000,), 32_000),
        ]
        for title, work, arguments, count in rows:
            seconds, peak = measured(work, store, *arguments)
            each = seconds / count * 1e6
            print(f"{title:30} {seconds:8.1f} s {each:8.1f} us each {peak:6.2f} GB", flush=True)


if __name__ == "__main__":
    main()
