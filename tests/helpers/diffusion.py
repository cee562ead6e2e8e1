"""Images for the diffusion editor, and networks of it that fail."""

import torch


def pictures(count, height=64, width=64, seed=0):
    """Return smooth random colours, uint8 [count, 3, height, width]."""
    noise = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def difference(first, second):
    return int((first.int() - second.int()).abs().max())


def spoil(items):
    """Return a hook that makes half-precision input of a network infinite, not float32."""

    def hook(module, inputs):
        hidden = inputs[0].clone()
        if hidden.dtype != torch.float32:
            hidden[items] = float("inf")
        return (hidden, *inputs[1:])

    return hook


def fails_over(editor, most, error):
    """Let the network fail where more images than `most` come at a time (each comes thrice)."""
    editor._load()
    tried = []

    def fail(module, inputs):
        tried.append(len(inputs[0]) // 3)
        if tried[-1] > most:
            raise error

    hook = editor._pipeline.unet.register_forward_pre_hook(fail)
    return tried, hook
