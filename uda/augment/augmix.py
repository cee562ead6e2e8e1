"""AugMix as a training augmentation: each image averaged with chains of operations on it."""

from __future__ import annotations

from uda.augment.each_image import EachImage


class AugMixAugmentation(EachImage):
    """AugMix (arXiv 1912.02781), of every image drawn.

    m x + (1 − m) Σ w_i chain_i(x), where m is from Beta(alpha, alpha), the ``mixture_width``
    weights w from Dirichlet(alpha, …, alpha), and a chain is ``chain_depth`` operations (−1: one to
    three) of strengths up to ``severity`` of 10. As in the paper, the operations exclude those that
    its corruptions contain (contrast, colour, brightness, sharpness); ``all_ops`` includes them.
    The paper's second part, a consistency loss between three views, is left out: all augmentations
    have the same loss. Raises ValueError naming the option at fault.
    """

    name = "augmix"
    title = "AugMix"

    def __init__(
        self,
        *,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = False,
    ) -> None:
        where = "augment.options.augmix"
        if not 1 <= severity <= 10:
            raise ValueError(f"{where}.severity: {severity} is not in 1 to 10")
        if mixture_width < 1:
            raise ValueError(f"{where}.mixture_width: {mixture_width} must be at least 1")
        if chain_depth < 1 and chain_depth != -1:
            raise ValueError(f"{where}.chain_depth: {chain_depth} is neither positive nor -1")
        if not alpha > 0:
            raise ValueError(f"{where}.alpha: {alpha} must be positive")
        from torchvision.transforms import v2  # takes a second to import

        self.transform = v2.AugMix(severity, mixture_width, chain_depth, alpha, all_ops)
