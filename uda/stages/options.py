"""Options of methods and augmentations: the keyword arguments of their classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from genmix_aug.options import resolved_options
from uda.config import AugmentConfig, Experiment, PretrainConfig

if TYPE_CHECKING:
    from uda.augment.base import Augmentation
    from uda.methods.base import Method
    from uda.pretraining.base import SelfSupervised


def resolve_options(
    factories: Mapping[str, Callable[..., Any]], name: str, chosen: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the keyword options of ``factories[name]``: its defaults, updated by ``chosen[name]``.

    Args:
        factories: What makes each method or augmentation.
        name: An entry of ``factories``.
        chosen: Options by entry, perhaps of other entries too.
        where: Section of the configuration, "adapt", "augment" or "pretrain".

    Raises:
        ValueError: Names the key that is unknown or of another type than its default.
    """
    kind = "name" if where == "augment" else "method"
    if name not in factories:
        raise ValueError(f"{where}.{kind}: {name!r} is not one of {', '.join(factories)}")
    if unknown := sorted(chosen.keys() - factories.keys()):
        raise ValueError(
            f"{where}.options.{unknown[0]}: not one of {', '.join(factories)}; options stand under "
            f"the name of what they belong to, as in {where}.options.{name}"
        )
    resolved = {
        # All entries are checked: a misspelt option elsewhere would silently do nothing.
        key: _resolved(factories[key], chosen.get(key) or {}, f"{where}.options.{key}")
        for key in {name, *chosen}
    }
    return resolved[name]


def _resolved(factory: Callable[..., Any], chosen: Any, where: str) -> dict[str, Any]:
    if not isinstance(chosen, Mapping):
        raise ValueError(f"{where}: expected a mapping of options")
    return resolved_options(
        factory,
        chosen,
        unknown=f"{where}.{{key}}: unknown; known: {{known}}",
        mistyped=f"{where}.{{key}}: {{value!r}} is not a {{wanted}}",
        nothing="none",
    )


def method_of(experiment: Experiment) -> Method:
    """Return the configured adaptation method."""
    from uda.methods import METHODS

    settings = experiment.adapt
    options = resolve_options(METHODS, settings.method, settings.options, "adapt")
    return METHODS[settings.method](open_set=experiment.data.scenario != "pda", **options)


def pretrain_options(settings: PretrainConfig) -> dict[str, Any]:
    """Return the options of the self-supervised method that ``settings`` name."""
    from uda.pretraining import SELF_SUPERVISED

    return resolve_options(SELF_SUPERVISED, settings.method, settings.options, "pretrain")


def self_supervised_of(settings: PretrainConfig) -> SelfSupervised:
    """Return the configured self-supervised method."""
    from uda.pretraining import SELF_SUPERVISED

    return SELF_SUPERVISED[settings.method](**pretrain_options(settings))


def augment_options(settings: AugmentConfig) -> dict[str, dict[str, Any]]:
    """Return the options of each augmentation that ``settings`` name, by its name, in order."""
    from uda.augment import AUGMENTATIONS, REMOVED
    from uda.augment.composed import names_in

    names = names_in(settings.name)
    for name in (*names, *settings.options):
        if name in REMOVED:
            raise ValueError(f"augment: {name} is no longer there: {REMOVED[name]}")
    if len(set(names)) < len(names):
        raise ValueError(f"augment.name: {settings.name}: names an augmentation twice")
    return {
        name: resolve_options(AUGMENTATIONS, name, settings.options, "augment") for name in names
    }


def augmentation_of(settings: AugmentConfig) -> Augmentation:
    """Return the configured augmentation."""
    return make_augmentation(augment_options(settings))


def make_augmentation(options: Mapping[str, Mapping[str, Any]]) -> Augmentation:
    """Return the augmentation with the ``options`` of each of its parts, by their names."""
    from uda.augment import AUGMENTATIONS
    from uda.augment.composed import ComposedAugmentation

    parts = [AUGMENTATIONS[name](**values) for name, values in options.items()]
    return parts[0] if len(parts) == 1 else ComposedAugmentation(parts)
