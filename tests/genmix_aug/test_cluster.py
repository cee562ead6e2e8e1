"""Ray started, joined and left; that it is left by an interrupt is tried with whole commands."""

import os

import pytest

from genmix_aug import cluster


def test_what_killed_commands_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "TEMPORARY", str(tmp_path))
    gone, alive = (tmp_path / f"genmix-ray-{pid}-x" for pid in (2**22 + 1, os.getpid()))
    for folder in (gone, alive, tmp_path / "genmix-ray-mine"):
        folder.mkdir()
    cluster._remove_abandoned()
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, "genmix-ray-mine"}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_a_missing_cluster_is_named(address):
    with (
        pytest.raises(ValueError, match=f"address: no Ray cluster at '{address}'; start one"),
        cluster.ray_cluster(address),
    ):
        pass
