"""GenMix (arXiv 2412.02366): label-preserving training images from edits, seams and fractals.

    from genmix_aug import GenMixTransform, fill_store

`__init__.pyi` beside this file lists the public names. They are imported from their modules when
they are first used, so that importing the package takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
