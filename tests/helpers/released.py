"""Small checkpoints as the released code of LEAD and GLC writes them."""

from __future__ import annotations

import torch
import torchvision
from torch import nn

CLASSES, DIM = 5, 12


def network(name):
    """Return torchvision's network without its last layer and with random BatchNorm."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(7)
            nn.init.normal_(module.weight, 0.5, 0.1)
    if name.startswith("vgg"):
        model.classifier = model.classifier[:-1]
    else:
        model.fc = nn.Identity()
    return model.eval()


def head(width, num_classes=CLASSES):
    """Return random tensors of the released head by their names."""
    draw = torch.Generator().manual_seed(1)
    shapes = {
        "feat_embed_layer.bottleneck.weight": (DIM, width),
        "feat_embed_layer.bottleneck.bias": (DIM,),
        "feat_embed_layer.bn.weight": (DIM,),
        "feat_embed_layer.bn.bias": (DIM,),
        "feat_embed_layer.bn.running_mean": (DIM,),
        "feat_embed_layer.bn.running_var": (DIM,),
        "class_layer.fc.bias": (num_classes,),
        "class_layer.fc.weight_g": (num_classes, 1),
        "class_layer.fc.weight_v": (num_classes, DIM),
    }
    tensors = {key: torch.randn(shape, generator=draw) / 4 for key, shape in shapes.items()}
    tensors["feat_embed_layer.bn.running_var"] = tensors["feat_embed_layer.bn.running_var"].exp()
    return tensors | {"feat_embed_layer.bn.num_batches_tracked": torch.tensor(9)}
