"""What a self-supervised method is to the loop that pretrains a backbone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from uda.models.classifier import Classifier
from uda.training.state import Loop

# Returns the trained backbone's features float32 [B, D] of images [B, 3, px, px] in [0, 1].
Encode = Callable[[Tensor], Tensor]


class SelfSupervised(nn.Module):
    """A method that trains a backbone on two views of each picture, without labels.

    It is a module, so `state_dict` holds all that a resumed run needs: its layers, the networks
    that it keeps beside the trained one, and its queue.

    Attributes:
        name: What configurations call it, as in `uda.pretraining.SELF_SUPERVISED`.
        title: What tables call it.
        projector: The layers behind the backbone, trained at the same rate; set by `build`.
        predictor: Layers that are trained at a constant rate, if there are any.
    """

    name: str
    title: str
    projector: nn.Module
    predictor: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        self.predictor = None

    def check(self, num_images: int, batch_size: int) -> None:
        """Raise ValueError naming an option that does not fit the pictures or their batches."""

    def build(self, model: Classifier, num_images: int, batch_size: int, loop: Loop) -> None:
        """Make the method's layers, drawn by the run's seed.

        Args:
            model: The network before its first step; its features are the backbone's.
            num_images: Originals, N.
            batch_size: B.
            loop: Seed, device and precision.
        """
        raise NotImplementedError

    def loss(self, encode: Encode, first: Tensor, second: Tensor, seed: int) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            encode: The trained backbone.
            first: A view of each picture, [B, 3, px, px] in [0, 1], of all ranks.
            second: The other view, in the same order.
            seed: The step's.
        """
        raise NotImplementedError

    def after_step(self, model: Classifier) -> None:
        """Take over what the optimiser's step has made of ``model``; called after each step."""
