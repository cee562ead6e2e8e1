import sys

import pytest

from uda.event_files import write_event_files
from uda.runs import open_run


def test_every_number_is_there_once(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = open_run(tmp_path, "lead", {"a": 1})
    for epoch, score in enumerate((10.0, 20.0)):
        run.log(kind="evaluate", epoch=epoch, h_score=score, empty_classes=["x"], auroc=None)
    run.log(kind="adapt", epoch=1, loss_ce=3.0)
    write_event_files(run)
    folder = write_event_files(run)  # again: in place of the first
    assert [path.name for path in run.folder.iterdir() if path.is_dir()] == ["tensorboard"]
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"evaluate/h_score", "adapt/loss_ce"}
    found = events.Scalars("evaluate/h_score")
    assert [(one.step, one.value) for one in found] == [(0, 10.0), (1, 20.0)]
    assert found[0].wall_time == pytest.approx(run.metrics("evaluate")[0]["time"])


def test_without_tensorboard_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        write_event_files(open_run(tmp_path, "lead", {}))
