"""Ray started, joined and left; that it is left by an interrupt is tried with whole commands."""

import os
import signal
import sys
from types import SimpleNamespace

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


def test_sigterm_is_as_an_interrupt_and_ray_is_left(monkeypatch):
    left = []
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(shutdown=lambda: left.append(1)))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), cluster._until_shutdown():
        signal.raise_signal(signal.SIGTERM)
    assert left == [1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_has_room_on_a_single_node(monkeypatch):
    sizes = [(8, 2, True), (3, 1, True), (64, 8, False), (4, 0, True)]
    nodes = [{"Alive": alive, "Resources": {"CPU": c, "GPU": g}} for c, g, alive in sizes]
    del nodes[-1]["Resources"]["GPU"]  # as Ray says it
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(nodes=lambda: nodes))
    assert cluster.room_for(1, 0) == 15
    assert cluster.room_for(1, 1) == 3
    assert cluster.room_for(1, 2) == 1
    assert cluster.room_for(1, 0.1) == 11
    assert cluster.room_for(16, 0) == 0
