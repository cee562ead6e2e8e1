"""Which classes source and target share under a scenario, and how all of them are numbered.

Classes are numbered shared first, then source-private, then target-private, each in the dataset's
class order. The K source classes are thus 0..K-1, and every label from K on is unknown to a source
model.
"""

from __future__ import annotations

from dataclasses import dataclass

from uda.data.spec import DatasetSpec


@dataclass(frozen=True)
class ClassSplit:
    """Class names by role; ``number`` gives each its label."""

    shared: tuple[str, ...]
    source_private: tuple[str, ...] = ()
    target_private: tuple[str, ...] = ()

    @property
    def source_classes(self) -> tuple[str, ...]:
        """The K classes of the source, in label order."""
        return self.shared + self.source_private

    @property
    def target_classes(self) -> tuple[str, ...]:
        """The classes that the target holds, in label order."""
        return self.shared + self.target_private

    @property
    def number(self) -> dict[str, int]:
        """Class name -> label."""
        names = self.shared + self.source_private + self.target_private
        return {name: label for label, name in enumerate(names)}


def class_split(spec: DatasetSpec, scenario: str) -> ClassSplit:
    """The label sets of ``scenario``; all classes shared where it is empty (in-domain).

    Raises ValueError where the dataset has no such scenario, or where it makes a class two things.
    """
    if not scenario:
        return ClassSplit(shared=spec.classes)
    if scenario not in spec.scenarios:
        raise ValueError(
            f"data.scenario: {spec.name} has no {scenario!r}; it has {', '.join(spec.scenarios)}"
        )
    ranges = spec.scenarios[scenario]
    parts = {
        part: spec.classes[slice(*ranges.get(part, (0, 0)))]
        for part in ("shared", "source_private", "target_private")
    }
    split = ClassSplit(**parts)
    names = split.shared + split.source_private + split.target_private
    if len(set(names)) != len(names):
        raise ValueError(f"{spec.name}: scenario {scenario!r} gives a class two roles")
    if not split.shared:
        raise ValueError(f"{spec.name}: scenario {scenario!r} shares no class")
    return split
