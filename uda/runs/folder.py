"""A run: a folder, the configuration that names it, and every file in it.

    config.yaml                        what the folder's name is a hash of
    experiment.yaml                    the options that the run was started with
    metrics.jsonl                      a line for each epoch and kind of figure
    checkpoint.pt, best.pt             the last epoch's state; the best epoch's weights; both
                                       with the classes
    classes.json                       the source classes in label order
    pictures.json                      which images it was made of: names, hashes of their contents
    banks/, predictions.npz,
    summary.npz                        of an adaptation: features, answers, what the method kept
    opinion.npz                        of an answer by Co-learn: the frozen network's centroids
    criteria.json, thresholds.json     what was chosen without labels, computed once; of a source
                                       model the thresholds of each way of answering
    purity.json                        how many neighbours are right, computed once
    backbone.safetensors               of pretraining: the backbone's weights, for model.weights
    probe.json                         its scores by `uda probe`
    genmix_stages.png                  what GenMix made of a few images
    predictions.csv, unknown.png,
    answers.md                         of `uda run`: answers for people
    upright                            written first: pictures are turned as EXIF says
    error.txt                          why a sweep's run failed
    done                               written last

Folders are named after a hash of what decides the run's result, so the same configuration finds its
run again and no other does. Nothing outside of this file spells the name of such a file.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import yaml

from uda.config import Experiment, read_yaml
from uda.runs.checkpoints import (
    check_classes,
    check_columns,
    check_finite_arrays,
    check_matrices,
    classes_of,
    is_list_of_names,
    read_arrays,
    read_checkpoint,
)
from uda.runs.config import RunConfig
from uda.runs.files import (
    append,
    atomic_path,
    read_bytes,
    read_text,
    remove_abandoned,
    write_json,
    write_text,
    writing,
)
from uda.runs.hashing import config_hash
from uda.runs.lock import hold, hold_in_turn
from uda.runs.version import code_version

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATASETS = "datasets"  # beside the runs: dataset files that `uda run` writes for anyone's folders
CHOICES = ("criteria", "thresholds", "purity")
# Keys of a line of metrics that hold more than a number; kinds of lines that are of an epoch.
TEXTS = ("kind", "run", "version", "checkpoint")
NAMED_SCORES = ("per_class", "fgsm_error", "corruptions")
MOST_EPOCHS = 2**31
OF_EPOCHS = ("train", "validate", "evaluate", "adapt", "pretrain")


@dataclass(frozen=True)
class Run(RunConfig):
    """A run's folder, and the configuration that names it."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The dataset's name, or the path of its file, which may have moved with the runs.

        Raises ValueError naming the run whose dataset's file is missing.
        """
        name = self.dataset_name
        if not name.endswith((".yaml", ".yml")):
            return name
        beside = self.folder.parent
        for path in (beside / name, Path(name), beside / DATASETS / Path(name).name):
            if path.is_file():
                return str(path)
        raise ValueError(
            f"{self.folder}: its dataset's file {name} is not there; restore it as "
            f"{beside / DATASETS / Path(name).name}, or move the run elsewhere"
        )

    # ---- beginning and end

    @property
    def is_done(self) -> bool:
        """Whether the run has finished."""
        return is_done(self.folder)

    @property
    def done_text(self) -> str:
        """The time at which the run finished, as text."""
        return read_text(self.folder / "done", errors="replace").strip()

    def start(self) -> None:
        """Make the folder, and write the configuration, unless they exist."""
        if not is_run(self.folder):
            write_text(self.folder / "upright", "Pictures are turned as their EXIF tags say.\n")
            self._write_config()

    @property
    def is_upright(self) -> bool:
        """Whether its pictures are turned as their EXIF tags say, as viewers do.

        Those of runs from before that was done stay as they are stored.
        """
        return not is_run(self.folder) or (self.folder / "upright").is_file()

    def mark_done(self) -> None:
        """Write down that the run has finished, after everything else is on disk.

        Temporary files that killed processes left in the folder, and below it, are removed, and
        choices, which were made of other epochs.
        """
        for name in CHOICES:
            self._choices_path(name).unlink(missing_ok=True)
        for left in self.folder.rglob(".*.tmp*"):
            left.unlink(missing_ok=True)
        write_text(self.folder / "done", f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")

    def restore(
        self, metrics: Iterable[Mapping[str, Any]], choices: Mapping[str, Any], done: str
    ) -> None:
        """Write a packed run's files into a folder that nobody else sees yet."""
        self._write_config()
        lines = (f"{json.dumps({'run': self.hash, **line})}\n" for line in metrics)
        write_text(self.folder / "metrics.jsonl", "".join(lines))
        for name, values in choices.items():
            write_json(self._choices_path(name), values, newline=False)
        write_text(self.folder / "done", f"{done}\n")

    @contextmanager
    def lock(self, say: Callable[[str], None] | None = None) -> Iterator[None]:
        """Keep other processes from working on the run within the block.

        What a killed process left half-written is removed. Where another is at work, it waits after
        a word by ``say``; without that it raises `uda.runs.lock.RunBusyError`.
        """
        with hold_in_turn(self.folder, say) if say else hold(self.folder):
            for folder in (self.folder, self._bank_path(0).parent):
                remove_abandoned(folder)
            yield

    def write_error(self, text: str) -> None:
        """Write down why the run failed in a sweep: a line, and details that may follow it."""
        write_text(self.folder / "error.txt", text + "\n")

    def clear_error(self) -> None:
        """Remove what `write_error` wrote."""
        (self.folder / "error.txt").unlink(missing_ok=True)

    # ---- metrics

    def log(self, **values: Any) -> None:
        """Append a line to the metrics, with the run's hash, the code's version and the time."""
        self.start()
        line = {"run": self.hash, "version": code_version(), "time": time.time(), **values}
        path = self.folder / "metrics.jsonl"
        with writing(path), open(path, "ab+", buffering=0) as file:
            # A line cut short by a kill must not swallow this one.
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            start = b"" if file.read(1) in (b"", b"\n") else b"\n"
            append(file, start + json.dumps(line).encode() + b"\n")

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the logged lines in order, of a single ``kind`` if named, the last of each epoch.

        A run killed between a line and its checkpoint logs that epoch again when it goes on; a last
        line cut short by the kill is passed over. Raises ValueError naming a line of another kind.
        """
        path = self.folder / "metrics.jsonl"
        lines: dict[tuple[Any, Any], dict[str, Any]] = {}
        texts = read_text(path, errors="replace") if path.is_file() else ""
        for number, text in enumerate(texts.splitlines(), 1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if not isinstance(line, dict):
                continue
            if not is_metrics(line):
                raise ValueError(
                    f"{path}: line {number} is none of a run's; restore the file, or delete the "
                    "run's folder and make it again"
                )
            if kind in (None, line.get("kind")):
                lines[line.get("kind"), line.get("epoch")] = line
        return list(lines.values())

    def evaluations(self) -> list[dict[str, Any]]:
        """Return the scores of a finished adaptation by epoch, from 0.

        Raises ValueError naming the run that has lost those of its last epoch.
        """
        lines = self.metrics("evaluate")
        if not lines or self.epochs not in (None, lines[-1].get("epoch")):
            raise ValueError(
                f"{self.folder / 'metrics.jsonl'}: the last epoch's scores are not in it any more; "
                "delete the run's folder and make it again"
            )
        return lines

    def source_cut(self) -> float | None:
        """Return the threshold of an adaptation that answers by the source stage's, else None.

        Raises ValueError naming the run that has lost it.
        """
        if self.answer.get("threshold") != "source":
            return None
        cut = self.evaluations()[-1].get("threshold")
        if cut is None:
            raise ValueError(
                f"{self.folder / 'metrics.jsonl'}: the threshold is not in it any more; delete the "
                "run's folder and make it again"
            )
        return float(cut)

    def held_out_scores(self) -> dict[str, Any] | None:
        """Return an in-domain run's scores: of the epoch that validation chose, or of the last.

        Runs from before final scores existed have those of their last epoch; None without any.
        """
        lines = {line.get("checkpoint"): line for line in self.metrics("final")}
        evaluated = self.metrics("evaluate")
        return lines.get("best") or lines.get("last") or (evaluated[-1] if evaluated else None)

    def training_seconds(self) -> float | None:
        """Return the seconds of the training steps; None for runs from before they were logged."""
        lines = self.metrics("train")
        return lines[-1].get("seconds") if lines else None

    # ---- classes, checkpoints, arrays

    def save_classes(self, names: Sequence[str]) -> None:
        """Write the K source classes in label order: the model then needs no dataset's file."""
        self.start()
        write_json(self.folder / "classes.json", list(names))

    def classes(self) -> tuple[str, ...] | None:
        """Return what `save_classes` wrote, or None. Raises ValueError naming a broken file."""
        path = self.folder / "classes.json"
        if not path.is_file():
            return None
        names: Any = None
        with suppress(ValueError, RecursionError):
            names = json.loads(read_text(path))
        if not is_list_of_names(names):
            raise ValueError(f"{path}: not a list of class names; restore or delete it")
        return tuple(names)

    def save_pictures(self, record: Mapping[str, Any]) -> None:
        """Write which images the run is made of, by what they are used for."""
        write_json(self._pictures_path, dict(record))

    def pictures(self) -> dict[str, Any]:
        """Return what `save_pictures` wrote; nothing for runs from before it existed.

        Raises ValueError naming a broken file.
        """
        if not self._pictures_path.is_file():
            return {}
        record: dict[str, Any] | None = None
        with suppress(ValueError, RecursionError):
            record = json.loads(read_bytes(self._pictures_path))
        if not _is_record(record):
            raise ValueError(
                f"{self._pictures_path}: not a record of pictures; restore it, or delete it to "
                "take the run as it is"
            )
        return record

    @property
    def checkpoint(self) -> Path:
        """The last epoch's state."""
        return self.folder / "checkpoint.pt"

    @property
    def best_checkpoint(self) -> Path:
        """The weights of the best epoch on the validation part, if the run has such a part."""
        return self.folder / "best.pt"

    @property
    def result_checkpoint(self) -> Path:
        """The weights of the run's result: the best epoch's if they were kept, else the last's."""
        return self.best_checkpoint if self.best_checkpoint.is_file() else self.checkpoint

    def save_checkpoint(self, state: Mapping[str, Any], best: bool = False) -> None:
        """Write ``state`` (tensors and plain values) as the last, or ``best``, epoch's.

        The run's classes go with it, so that the file is not misread without its folder.
        """
        import torch

        self.start()
        names = self.classes()
        classes = {} if names is None else {"classes": list(names)}
        # A file rather than a path, of which torch would write the temporary name into the file.
        with (
            atomic_path(self.best_checkpoint if best else self.checkpoint) as path,
            open(path, "wb") as file,
        ):
            torch.save({**state, **classes}, file)

    def take_checkpoint(self, path: Path) -> None:
        """Make another run's checkpoint ``path`` this run's, without a copy where disks can."""
        self.start()
        with atomic_path(self.checkpoint) as temporary:
            temporary.unlink(missing_ok=True)
            try:
                os.link(path, temporary)
            except OSError:  # another disk, or one without links
                shutil.copyfile(path, temporary)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the last state, None before the first.

        Raises ValueError naming a broken file, or one of other classes than the run's.
        """
        if not self.checkpoint.is_file():
            return None
        try:
            state = read_checkpoint(self.checkpoint)
            theirs, ours = classes_of(state, str(self.checkpoint)), self.classes()
            if theirs is not None and ours is not None:
                check_classes(theirs, ours, str(self.checkpoint))
            return state
        except ValueError as error:
            raise ValueError(f"{error}; delete {self.folder} to begin it anew") from None

    @property
    def backbone(self) -> Path:
        """The weights of a pretrained backbone, as `model.weights` takes them."""
        return self.folder / "backbone.safetensors"

    def save_backbone(self, state: Mapping[str, Any]) -> None:
        """Write a pretrained backbone's state dict."""
        from safetensors.torch import save

        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        with atomic_path(self.backbone) as path:
            path.write_bytes(save(tensors))

    def save_probe(self, scores: Mapping[str, Any]) -> None:
        """Write what `uda probe` finds of a pretrained backbone."""
        write_json(self.folder / "probe.json", dict(scores))

    def save_bank(self, epoch: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write an epoch's arrays of the whole target."""
        self._save_arrays(self._bank_path(epoch), arrays)

    def bank(self, epoch: int, names: Sequence[str]) -> list[NDArray[Any]]:
        """Return the arrays ``names`` of an epoch (0: before any adaptation), the others unread.

        Raises ValueError naming the run that has not kept them, or a broken file.
        """
        path = self._bank_path(epoch)
        if not path.is_file():
            raise ValueError(f"{path}: not kept (adapt.keep_banks false, or an unfinished run)")
        arrays = read_arrays(path, names)
        check_matrices(arrays, path)
        check_finite_arrays(arrays, path)
        return list(arrays.values())

    def save_predictions(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write what the last epoch's model says of each image of the target."""
        self._save_arrays(self.folder / "predictions.npz", arrays)

    def predictions(self) -> dict[str, NDArray[Any]] | None:
        """Return what `save_predictions` wrote, or None. Raises ValueError naming a broken file."""
        path = self.folder / "predictions.npz"
        if not path.is_file():
            return None
        arrays = read_arrays(path)
        check_columns(arrays, path)
        return arrays

    def save_summary(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write what the method keeps for reports."""
        self._save_arrays(self.folder / "summary.npz", arrays)

    def summary(self) -> dict[str, NDArray[Any]] | None:
        """Return what `save_summary` wrote, or None. Raises ValueError naming a broken file."""
        path = self.folder / "summary.npz"
        return read_arrays(path) if path.is_file() else None

    def save_opinion(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the frozen network's opinion of the target's classes, by which pictures are
        answered one at a time."""
        self._save_arrays(self.folder / "opinion.npz", arrays)

    def opinion(self) -> dict[str, NDArray[Any]]:
        """Return what `save_opinion` wrote. Raises ValueError naming a file that is not whole."""
        path = self.folder / "opinion.npz"
        if not path.is_file():
            raise ValueError(f"{path}: missing; delete the run's folder and answer again")
        return read_arrays(path)

    # ---- choices made without labels

    def choices(self, name: str) -> dict[str, list[float]] | None:
        """Return what `save_choices` wrote as ``name``; None without it, or where it is broken.

        It is then made anew.
        """
        path = self._choices_path(name)
        with suppress(ValueError, RecursionError):
            values = json.loads(read_text(path)) if path.is_file() else None
            return values if _are_choices(values) else None
        return None

    def save_choices(self, name: str, values: Any) -> None:
        """Write the values of a name in `CHOICES`, unless the run is unfinished."""
        if self.is_done:
            write_json(self._choices_path(name), values, newline=False)

    def choices_are_newer(self, name: str) -> bool:
        """Return whether a choice is newer than the predictions, or the run (unpacked) has none."""
        predictions, path = self.folder / "predictions.npz", self._choices_path(name)
        return not predictions.is_file() or (predictions.stat().st_mtime <= path.stat().st_mtime)

    # ---- how it was started

    def save_experiment(self, experiment: Experiment) -> None:
        """Write the options of this run, from which `uda train` and `uda adapt` make it again."""
        text = yaml.safe_dump(asdict(experiment), sort_keys=False, allow_unicode=True)
        write_text(self.folder / "experiment.yaml", text)

    @property
    def experiment_text(self) -> str:
        """What `save_experiment` wrote; empty without it."""
        path = self.folder / "experiment.yaml"
        return read_text(path, errors="replace") if path.is_file() else ""

    @property
    def root(self) -> str:
        """The folder of images that the run was to use, if it exists; else empty."""
        path = self.folder / "experiment.yaml"
        data = read_yaml(path).get("data") if path.is_file() else None
        root = str(data.get("root", "")) if isinstance(data, dict) else ""
        return root if os.path.isdir(os.path.expanduser(root)) else ""

    @property
    def weights(self) -> str:
        """The weights that the run's backbone began with: a name, or the path of a file."""
        path = self.folder / "experiment.yaml"
        model = read_yaml(path).get("model") if path.is_file() else None
        return str(model.get("weights", "")) if isinstance(model, dict) else ""

    # ---- for people

    @property
    def stages_png(self) -> Path:
        """The picture of GenMix's stages of a few images."""
        return self.folder / "genmix_stages.png"

    @property
    def answers_md(self) -> Path:
        """The summary of the answers of `uda run`."""
        return self.folder / "answers.md"

    @property
    def answers_csv(self) -> Path:
        """The answers of `uda run`, a line for each image."""
        return self.folder / "predictions.csv"

    @property
    def unknown_png(self) -> Path:
        """The picture of the images that `uda run` calls unknown."""
        return self.folder / "unknown.png"

    # ---- costs

    @property
    def was_made_here(self) -> bool:
        """Whether it has finished and has its model, unlike unpacked runs of other machines."""
        return self.is_done and self.checkpoint.is_file()

    @property
    def lifetime_s(self) -> float:
        """Seconds from the folder's first file to its last."""
        first, last = (self.folder / name for name in ("config.yaml", "done"))
        return max(last.stat().st_mtime - first.stat().st_mtime, 0.0)

    @property
    def size_bytes(self) -> int:
        """The bytes that the folder takes on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    # ----

    def _write_config(self) -> None:
        text = yaml.safe_dump(dict(self.config), sort_keys=False)
        write_text(self.folder / "config.yaml", text)

    def _bank_path(self, epoch: int) -> Path:
        return self.folder / "banks" / f"epoch_{epoch:02d}.npz"

    @property
    def _pictures_path(self) -> Path:
        return self.folder / "pictures.json"

    def _choices_path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _save_arrays(self, path: Path, arrays: Mapping[str, Any]) -> None:
        import numpy as np

        with atomic_path(path) as temporary:
            np.savez(temporary, **arrays)


def _is_record(record: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether ``record`` is what `Run.save_pictures` writes."""
    kinds: dict[str, type] = {"count": int, "hash": str, "seen": list, "hashes": dict}
    return isinstance(record, dict) and all(
        isinstance(part, dict)
        and all(isinstance(part.get(key, kind()), kind) for key, kind in kinds.items())
        for part in record.values()
    )


def is_metrics(line: Mapping[str, Any]) -> bool:
    """Return whether a line of metrics has values of the types that `Run.log` is called with."""
    kind, epoch = line.get("kind"), line.get("epoch")
    if not isinstance(kind, str) or not _is_number(line.get("time", 0)):
        return False
    if not (epoch is None or (type(epoch) is int and 0 <= epoch < MOST_EPOCHS)):
        return False
    if kind == "prepare":  # what an augmentation prepared, whatever it calls that
        return _is_number(line.get("seconds", 0))
    return (epoch is not None or kind not in OF_EPOCHS) and all(
        _is_value(key, value) for key, value in line.items()
    )


def _is_value(key: str, value: Any) -> bool:
    if key in TEXTS:
        return isinstance(value, str)
    if key in NAMED_SCORES:
        return isinstance(value, dict) and all(map(_is_score, value.values()))
    if key == "h_curve":
        return isinstance(value, list) and all(map(_is_score, value))
    if key == "empty_classes":
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    return _is_score(value)


def _is_score(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_number(value: Any) -> bool:
    """Return whether a value of JSON is a number, finite and within floating point's range."""
    return isinstance(value, (int, float)) and abs(value) < 1e300


def _are_choices(values: Any) -> bool:
    """Return whether values are lists of numbers by name."""
    return isinstance(values, dict) and all(
        isinstance(numbers, list) and all(map(_is_number, numbers)) for numbers in values.values()
    )


def is_done(folder: Path) -> bool:
    """Return whether the run in ``folder`` has finished."""
    return (folder / "done").is_file()


def error_in(folder: Path) -> str:
    """Return the line that says why the run in ``folder`` failed; empty if it did not."""
    path = folder / "error.txt"
    return (
        read_text(path, errors="replace").partition("\n")[0]
        if path.is_file() and not is_done(folder)
        else ""
    )


def is_run(folder: Path) -> bool:
    """Return whether ``folder`` is a run's."""
    return (folder / "config.yaml").is_file()


def open_run(runs: Path, name: str, config: Mapping[str, Any]) -> Run:
    """Return the run of ``config`` under ``runs``. Nothing is written before `Run.start`."""
    return Run(runs / f"{name}-{config_hash(config)}", config)


def read_run(folder: Path, renamed: bool = False) -> Run:
    """Return the run in ``folder``.

    Its name must end in the hash of its configuration, unless it may have been ``renamed``. Raises
    ValueError naming a folder without a run, or with a broken run.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder}: not a run's folder (no config.yaml in it)")
    config = read_yaml(path)
    try:
        config_hash(config)
    except (TypeError, ValueError):  # keys of several types, dates, sets
        raise ValueError(f"{path}: not a run's configuration") from None
    if renamed and "stage" not in config:
        raise ValueError(f"{path}: not a run's configuration")
    if not renamed and not folder.name.endswith(f"-{config_hash(config)}"):
        raise ValueError(f"{path}: not what this run was made with; delete or restore {folder}")
    return Run(folder, config)


def find_runs(runs: Path) -> list[Run]:
    """Return all runs directly under ``runs``, in order of their names.

    Hidden folders, which were being made when a process was killed, are left out. Raises ValueError
    without any run.
    """
    if not runs.is_dir():
        raise ValueError(f"{runs}: no such folder of runs")
    folders = (path.parent for path in sorted(runs.glob("*/config.yaml")))
    runs_in = [read_run(folder) for folder in folders if not folder.name.startswith(".")]
    if not runs_in:
        raise ValueError(f"{runs}: holds no runs; `uda train` and `uda adapt` make them")
    return runs_in
