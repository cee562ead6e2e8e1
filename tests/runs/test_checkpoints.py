"""Checkpoints and arrays of strangers."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from uda.runs.checkpoints import read_arrays, read_checkpoint
from uda.runs.folder import open_run


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def object_array(path, harmful):
    np.savez(path, a=np.array([harmful], dtype=object))


def pickled(path, harmful):
    path.write_bytes(pickle.dumps({"model": harmful}))


def saved_by_torch(path, harmful):
    torch.save({"model": harmful}, path)


@pytest.mark.parametrize("read", [read_arrays, read_checkpoint])
@pytest.mark.parametrize("write", [object_array, pickled, saved_by_torch])
def test_nothing_is_unpickled(tmp_path, read, write):
    path = tmp_path / "x.npz"
    write(path, Harmful(tmp_path / "harmed"))
    with pytest.raises(ValueError, match=f"{path}: "):
        read(path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("read", [read_arrays, read_checkpoint])
def test_a_file_that_unfolds_to_far_more_is_refused(tmp_path, read):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(20_000_000))
    with pytest.raises(ValueError, match=r"x.npz: .* bytes that unfold to 20,000,000"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"\x93NUMPY\x01\x00v\x00" + b"{" * 118, b"\x93NUMPY\x09\x00", b"hello"]
)
def test_broken_arrays_are_a_line(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match=r"x.npz: cannot be read"):
        read_arrays(tmp_path / "x.npz")


def test_an_array_that_claims_a_petabyte_is_a_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, archive.open("a.npy", "w") as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": (10**15,)}
        np.lib.format.write_array_header_1_0(file, head)
    with pytest.raises(ValueError, match=r"x.npz: cannot be read \(Unable to allocate"):
        read_arrays(tmp_path / "x.npz")


def test_a_broken_bank_is_a_line(tmp_path):
    run = open_run(tmp_path, "x", {"stage": "adapt"})
    run.save_bank(1, {"features": np.zeros(3)})
    with pytest.raises(ValueError, match=r"epoch_01.npz: cannot be read \('more is not"):
        run.bank(1, ["features", "more"])
    (run.folder / "banks" / "epoch_01.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"epoch_01.npz: cannot be read"):
        run.bank(1, ["features"])
