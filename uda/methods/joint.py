"""Methods that learn from labelled source images and target images together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uda.methods.base import Bank, Batch, Method


class JointMethod(Method):
    """A method whose every step has a batch of the source beside one of the target.

    The source's batches are those of supervised training, under whatever augmentation the
    experiment names: a method does not notice. The classifier is trained, and so are the ``heads``.

    Attributes:
        temperature: Where it is not None, the network's classifier becomes one of cosines divided
            by it, which starts from the source model's rows
            (`uda.models.classifier.CosineClassifier`).
        needs_source_bank: Whether `see_source` is called before each `refresh`.
        num_views: Further views of each source batch, one for each head (CMU's).
        step: Finished steps.
        memory: What it keeps of the target from step to step, by name.
    """

    trains_classifier = True
    temperature: ClassVar[float | None] = None
    num_views: ClassVar[int] = 0
    needs_source_bank: ClassVar[bool] = False

    def __init__(self, *, open_set: bool, entropy_threshold: float = 0.55) -> None:
        super().__init__(open_set=open_set, entropy_threshold=entropy_threshold)
        self.step = 0
        self.memory: dict[str, Tensor] = {}

    @property
    def view_mode(self) -> str:
        """How the next step has the further views: train, eval (without gradients), or not at all.

        As features, ``Batch.views`` of the source.
        """
        return ""

    def see_source(self, bank: Bank, labels: Tensor, row_labels: Tensor) -> None:
        """Take the source's bank of the moment, of the originals' centre crops.

        Args:
            bank: Of the source.
            labels: int64 [N], of its rows.
            row_labels: int64, of the rows of the source's list, which has augmented copies, too.
        """

    def rows(self, state: Any, steps: int, batch_size: int) -> tuple[Tensor, Tensor] | None:
        """Return which rows the steps of an epoch have, int64 [steps, batch_size] each.

        Of the source's list, and of the target. None leaves them to the loop: all in random order.
        """
        return None

    def joint_loss(self, source: Batch, target: Batch, state: Any) -> dict[str, Tensor]:
        """Return a step's losses by name, to be summed.

        Args:
            source: Has ``targets``; its ``index`` are rows of the source's list.
            target: As of `Method.loss`.
            state: What `refresh` returned.
        """
        raise NotImplementedError

    def after_step(self, source: Batch, target: Batch) -> None:
        """Do what follows a step of the optimiser, without gradients.

        Counts the step, and makes the rows of a classifier of cosines unit.

        Args:
            source: As of `joint_loss`, with the features from before the step.
            target: The same.
        """
        self.step += 1
        if self.temperature:
            make_unit_rows(self.classifier)

    def state_dict(self) -> dict[str, Any]:
        """Return the heads' weights, the memory and the number of steps."""
        return {"heads": self.heads.state_dict(), "memory": self.memory, "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them, into heads that were built; the memory only to train on with it."""
        self.heads.load_state_dict(state["heads"])
        self.step = int(state["step"])
        if self.num_target:
            self.memory = dict(state["memory"])


@torch.no_grad()
def make_unit_rows(layer: nn.Linear) -> None:
    """Give the rows of a layer's weights unit norm, in place and outside of gradients."""
    layer.weight.div_(layer.weight.norm(dim=1, keepdim=True).clamp_min(1e-12))
