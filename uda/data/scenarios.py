"""The classes that source and target have under a scenario, and how they are numbered.

Classes are numbered shared first, then source-private, then target-private, each in the dataset's
class order. The K source classes are thus 0..K-1, and every label from K on is unknown to a source
model.
"""

from __future__ import annotations

from dataclasses import dataclass

from uda.data.spec import PARTS, DatasetSpec


@dataclass(frozen=True)
class ClassSplit:
    """Class names by role; ``number`` maps each to its label."""

    shared: tuple[str, ...]
    source_private: tuple[str, ...] = ()
    target_private: tuple[str, ...] = ()

    @property
    def source_classes(self) -> tuple[str, ...]:
        """The K classes of the source, in label order."""
        return self.shared + self.source_private

    @property
    def target_classes(self) -> tuple[str, ...]:
        """The classes of the target, in label order."""
        return self.shared + self.target_private

    @property
    def number(self) -> dict[str, int]:
        """Class name -> label."""
        names = self.shared + self.source_private + self.target_private
        return {name: label for label, name in enumerate(names)}


def class_split(spec: DatasetSpec, scenario: str) -> ClassSplit:
    """Return the class sets of ``scenario``.

    An empty ``scenario`` (in-domain training) makes every class shared.

    Raises:
        ValueError: The dataset lacks the scenario, or its ranges overlap or share no class.
    """
    if not scenario:
        return ClassSplit(shared=spec.classes)
    if scenario not in spec.scenarios:
        raise ValueError(
            f"data.scenario: {spec.name} has no {scenario!r}; it has {', '.join(spec.scenarios)}"
        )
    ranges = spec.scenarios[scenario]
    split = ClassSplit(**{part: spec.classes[slice(*ranges.get(part, (0, 0)))] for part in PARTS})
    names = split.shared + split.source_private + split.target_private
    if len(set(names)) != len(names):
        raise ValueError(f"{spec.name}: scenario {scenario!r} gives a class two roles")
    if not split.shared:
        raise ValueError(f"{spec.name}: scenario {scenario!r} shares no class")
    return split
