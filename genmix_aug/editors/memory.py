"""When a GPU's memory is too small: telling that from other errors, and giving memory back."""

from __future__ import annotations

import gc
import re

import torch

# Torch has an error of its own for its own allocations; cuBLAS, cuDNN and the driver allocate for
# themselves and are heard of through plain RuntimeErrors. NOT_INITIALIZED is what a library says
# that has no memory left to start in.
WORDS = re.compile(
    r"out of memory|can't allocate memory|not enough memory"
    r"|CU(BLAS|DNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)",
    re.IGNORECASE,
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, of a GPU or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(WORDS.search(str(error)))


def give_back() -> None:
    """Lets other processes, and other parts of this one, have what is no longer in use."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
