"""An editor and a screen that workers of other processes make for themselves."""

import time

import torch

from genmix_aug.editors import Editor
from genmix_aug.screening.checks import Verdict


class Noise(Editor):
    """Adds noise by its seed, and takes its time."""

    fingerprint = "noise-v1"

    def __init__(self, seconds_an_image: float = 0.0):
        self.seconds_an_image = seconds_an_image
        self.made = 0

    def edit(self, images, prompts, seeds):
        time.sleep(self.seconds_an_image * len(images))
        self.made += len(images)
        noise = [
            torch.randint(0, 64, image.shape, generator=torch.Generator().manual_seed(seed % 2**63))
            for image, seed in zip(images, seeds, strict=True)
        ]
        return images // 2 + torch.stack(noise).byte()

    def remarks(self):
        return {"were made": self.made}


def refuse_some(originals, edits):
    """Reject about a third, by the edit's first pixel."""
    bad = [int(edit[0, 0, 0]) % 3 == 0 for edit in edits]
    return [Verdict("flat" if is_bad else "", {"contrast": 1.0}) for is_bad in bad]


def screen_of_some():
    return refuse_some
