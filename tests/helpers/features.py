"""A feature function for `--features`, and an object that is no function."""


def colours(images):
    """Return mean colours, whose sign a negative image reverses."""
    return images.float().mean((2, 3)) - 128


number = 3
