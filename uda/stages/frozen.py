"""Features of a frozen backbone in the place of images, for the loops that train what is behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from uda.data.pixel_cache import allocate
from uda.data.pixels import Labelled
from uda.data.views import centre_crop
from uda.models.classifier import Classifier
from uda.stages.build import Task
from uda.training.source_batches import SourceBatches

CHUNK = 256  # images that are augmented at a time


def centre_features(task: Task, model: Classifier, images: Tensor) -> Tensor:
    """Return the features [N, D, 1, 1] of the centre crops of ``images`` uint8 [N, 3, H, W]."""
    sizes = task.experiment.images
    resized = task.pixels.resize(images, sizes.resize_px)
    return task.features(model, centre_crop(resized, sizes.crop_px))


def labelled_features(task: Task, model: Classifier, data: Labelled) -> Labelled:
    """Return the features of the originals in ``data``, and of the augmented copies of each.

    The copies are those of a first epoch. Raises ValueError naming an augmentation that mixes
    images of a batch, which are no longer there.
    """
    experiment, augmentation = task.experiment, task.augmentation
    if augmentation.mixes_batches:
        raise ValueError(
            f"augment.name: {experiment.augment.name} mixes the pictures of a batch, and a frozen "
            "backbone sees each picture once; take genmix, another that changes single pictures, "
            "or none"
        )
    loop = replace(task.loop(), images=experiment.images)
    copies = experiment.augment.copies
    batches = SourceBatches(
        data, augmentation, copies, len(task.split.source_classes), experiment.train, loop
    )
    originals = task.features(model, centre_crop(batches.resized, experiment.images.crop_px))
    if batches.first_augmented == batches.num_rows:
        return replace(data, images=originals)
    crops = _augmented_crops(task, batches)
    return replace(data, images=originals, copies=task.features(model, crops))


def _augmented_crops(task: Task, batches: SourceBatches) -> Tensor:
    """Return centre crops uint8 of the list's augmented rows, in a file if they are too many."""
    sizes, compute = task.experiment.images, task.experiment.compute
    rows = torch.arange(batches.first_augmented, batches.num_rows)
    shape = (len(rows), 3, sizes.crop_px, sizes.crop_px)
    crops = allocate(shape, compute.image_memory_gb, Path(compute.cache))
    for some, out in zip(rows.split(CHUNK), crops.split(CHUNK), strict=True):
        out.copy_(centre_crop(batches.whole_images(some, 0), sizes.crop_px))
    return crops
