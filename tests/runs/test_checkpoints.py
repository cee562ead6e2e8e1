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


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.eye(3).to_sparse(), "sparse, quantised or without values"),
        (torch.ones(2, device="meta"), "without values"),
        (torch.zeros(1).expand(10**5, 10**6), "that stands for 400,000,000,000 bytes"),
    ],
)
def test_tensors_that_training_does_not_write_are_refused(tmp_path, tensor, words):
    torch.save({"a": [{"b": tensor}]}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=f"x.pt: holds a tensor .*{words}"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((0, 3)), np.array([["a"]]), np.zeros((2, 2), int)],
)
def test_a_bank_holds_matrices_of_floats(tmp_path, array):
    run = open_run(tmp_path, "x", {"stage": "adapt"})
    run.save_bank(1, {"features": array})
    with pytest.raises(ValueError, match=r"epoch_01.npz: features are .*, not a matrix of floats"):
        run.bank(1, ["features"])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"label": np.zeros(3), "name": np.zeros(2)}, "its arrays differ in length"),
        ({"label": np.zeros((3, 1))}, r"label has the shape \[3, 1\]"),
        ({"unknown_score": np.array([np.nan])}, "unknown_score are not finite"),
    ],
)
def test_predictions_are_columns_of_a_table(tmp_path, arrays, words):
    run = open_run(tmp_path, "x", {"stage": "adapt"})
    run.save_predictions(arrays)
    with pytest.raises(ValueError, match=f"predictions.npz: {words}"):
        run.predictions()
