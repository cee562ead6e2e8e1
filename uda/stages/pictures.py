"""The pictures of a run: it goes on, and is found again, with those that it began with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from uda.data.fingerprints import PictureSet
from uda.data.items import ROOT_FLAGS, picture_names
from uda.data.names import join_names
from uda.data.partition import source_parts
from uda.runs.folder import Run
from uda.stages.identity import source_run

if TYPE_CHECKING:
    from uda.config import Experiment
    from uda.data.items import Item, Parts
    from uda.data.scenarios import ClassSplit
    from uda.data.spec import DatasetSpec

TRAINING, TARGET, SOURCE = "training", "target", "source"  # keys of a run's record of its images


@dataclass(frozen=True)
class RunPictures:
    """The images that a run is to be made of, beside its record of those that it is made of.

    Finished runs from before such records are taken as they are; of unfinished ones
    `check_names`, and a training's loop by their number, see most differences.

    Attributes:
        run: The run.
        domain: Where the images are from.
        sets: Them, by what they are used for.
        source: Of an adaptation, number and hash of the images of its source model, if known.
    """

    run: Run
    domain: str
    sets: Mapping[str, PictureSet]
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def difference(self) -> str:
        """In words, the first difference from the record; empty without one."""
        kept = self.run.pictures()
        for use in (*self.sets, *kept) if kept else ():
            if use == SOURCE:
                continue
            if difference := self.sets.get(use, PictureSet()).difference(kept.get(use)):
                return f"other {use} pictures of {self.domain} ({difference})"
        before = kept.get(SOURCE)
        if before and self.source and before != self.source:
            counts = f"{before['count']} then, {self.source['count']} now"
            return f"another source model, trained on other pictures ({counts})"
        return ""

    def check(self) -> None:
        """Raise ValueError where the run has begun, or is done, with other images."""
        if self._has_begun and (difference := self.difference):
            self._refuse(difference)

    def _refuse(self, difference: str) -> NoReturn:
        raise ValueError(
            f"{self.run.folder}: made of {difference}; restore those or name their folder with "
            f"{ROOT_FLAGS}, or, for a run of these, delete this run's folder or name another "
            "folder of runs with --runs"
        )

    def check_names(self, items: Sequence[Item]) -> None:
        """Raise ValueError where a begun adaptation without a record has predicted others.

        Args:
            items: The target's, in the order of their pixels, which another picture's pixels
                change as a rule.
        """
        answers = self.run.predictions() if self._has_begun and not self.run.pictures() else None
        if answers is None or "name" not in answers:
            return
        before, now = [str(name) for name in answers["name"]], picture_names(items)
        if before == now:
            return
        differs = [f"{len(before)} then, {len(now)} now"]
        for word, names, others in (("new", now, before), ("gone", before, now)):
            if rest := sorted({*names} - {*others}):
                differs.append(f"{word}: {join_names(rest, 3)}")
        if len(differs) == 1:
            differs.append("of the same names, with other content")
        self._refuse(f"other {TARGET} pictures of {self.domain} ({'; '.join(differs)})")

    def keep(self) -> None:
        """Write down what the run is made of, after `check`; the first rank writes."""
        from uda.compute.distributed import is_main

        self.check()
        kept = self.run.pictures()
        if not is_main() or (self.run.is_done and not kept):
            return
        before = kept if self._has_begun else {}
        record = {use: images.record(before.get(use)) for use, images in self.sets.items()}
        if source := before.get(SOURCE) or self.source:
            record[SOURCE] = dict(source)
        if record == kept:
            return
        # All that is new of a finished run is where its images lie now.
        with suppress(OSError) if self.run.is_done else nullcontext():
            self.run.save_pictures(record)

    @property
    def _has_begun(self) -> bool:
        return self.run.is_done or self.run.checkpoint.is_file()


def training_pictures(run: Run, domain: str, parts: Parts) -> RunPictures:
    """Return the images of a run of source training."""
    uses = {TRAINING: parts.train, "validation": parts.validation, "test": parts.test}
    sets = {use: PictureSet(tuple(items)) for use, items in uses.items() if items}
    return RunPictures(run, domain, sets)


def target_pictures(
    run: Run, domain: str, items: Sequence[Item], source: Mapping[str, Any] | None = None
) -> RunPictures:
    """Return the images of an adaptation; ``source`` is from `source_pictures`."""
    return RunPictures(run, domain, {TARGET: PictureSet(tuple(items))}, source or {})


def source_summary(run: Run) -> dict[str, Any]:
    """Return number and hash of the images of a source model; nothing where they are not known."""
    kept = run.pictures().get(TRAINING)
    return {key: kept[key] for key in ("count", "hash") if key in kept} if kept else {}


def source_pictures(experiment: Experiment, spec: DatasetSpec, split: ClassSplit) -> dict[str, Any]:
    """Return the `source_summary` of the model to adapt.

    Adaptation needs none of its images. But where they are at hand and are others by now,
    ValueError says so.
    """
    if experiment.adapt.checkpoint:
        return {}
    run = source_run(experiment, spec)
    summary = source_summary(run)
    if not summary:
        return {}
    try:
        parts = source_parts(experiment, spec, split)
    except ValueError:  # they are not at hand
        return summary
    if any(item.path.exists() for item in parts.train):
        training_pictures(run, experiment.data.source, parts).check()
    return summary


def target_hashes(run: Run) -> dict[str, str]:
    """Return the hash of each picture that was adapted to, by its name; empty where not known."""
    hashes: dict[str, str] = run.pictures().get(TARGET, {}).get("hashes", {})
    return hashes
