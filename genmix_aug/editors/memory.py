"""When a GPU's memory is too small: how such errors look, and freeing memory."""

from __future__ import annotations

import gc
import re

import torch

# Torch has a special error for its allocations; cuBLAS, cuDNN and the driver allocate for
# themselves and fail with plain RuntimeErrors. NOT_INITIALIZED is what a library says
# that has no memory left to start in.
WORDS = re.compile(
    r"out of memory|can't allocate memory|not enough memory"
    r"|CU(BLAS|DNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)",
    re.IGNORECASE,
)


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is too small, of a GPU or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(WORDS.search(str(error)))


def give_back() -> None:
    """Free what is no longer in use, for other processes and other parts of this process."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
