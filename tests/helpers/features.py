"""A feature function as `--features` takes one, and what is none."""


def colours(images):
    """Return mean colours, which a negative turns round."""
    return images.float().mean((2, 3)) - 128


number = 3
