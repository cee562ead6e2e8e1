import sys

import pytest
from helpers.made_runs import finished
from helpers.tiny import make_dataset

from uda.cli.main import main
from uda.runs.event_files import write_event_files
from uda.runs.folder import open_run
from uda.sweeps.record import Expected, write_plan


def test_every_number_is_written_once(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = open_run(tmp_path, "lead", {"a": 1})
    for epoch, score in enumerate((10.0, 20.0)):
        run.log(kind="evaluate", epoch=epoch, h_score=score, empty_classes=["x"], auroc=None)
    run.log(kind="adapt", epoch=1, loss_ce=3.0)
    run.log(kind="prepare", seconds=1.5)  # of no epoch
    run.log(kind="final", epoch=2, fgsm_error={"1/255": 60.0}, num_images=3)
    write_event_files(run)
    folder = write_event_files(run)  # replaces the first
    assert [path.name for path in run.folder.iterdir() if path.is_dir()] == ["tensorboard"]
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "evaluate/h_score",
        "adapt/loss_ce",
        "prepare/seconds",
        "final/fgsm_error/1_255",
        "final/num_images",
    }
    assert [(event.step, event.value) for event in events.Scalars("prepare/seconds")] == [(0, 1.5)]
    scores = events.Scalars("evaluate/h_score")
    assert [(event.step, event.value) for event in scores] == [(0, 10.0), (1, 20.0)]
    assert scores[0].wall_time == pytest.approx(run.metrics("evaluate")[0]["time"])


def test_event_files_of_a_single_sweeps_runs(tmp_path):
    pytest.importorskip("tensorboard")
    dataset, runs = make_dataset(tmp_path, per_class=1), tmp_path / "runs"
    ours = finished(runs, dataset, "lead", "none", 0, [40.0])
    finished(runs, dataset, "lead", "genmix", 0, [50.0])
    expected = Expected(
        "Plain", "Dark", "PlDa", "opda", "LEAD", "", "LEAD", 0, ours.folder, "tiny", "shared"
    )
    write_plan(runs, "ours", {}, [expected])
    arguments = ["report", str(runs), "--formats", "md", "--tensorboard", "--sweep", "ours"]
    assert main(arguments) == 0
    assert [path.parent for path in runs.glob("*/tensorboard")] == [ours.folder]


def test_unfinished_runs_get_event_files(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    run = open_run(tmp_path / "runs", "lead", {"stage": "adapt"})
    run.start()
    run.log(kind="evaluate", epoch=0, h_score=10.0)
    assert main(["report", str(tmp_path / "runs"), "--tensorboard"]) == 1
    output = capsys.readouterr()
    assert "tensorboard --logdir" in output.out
    assert "no adaptation in it has finished" in output.err
    assert list(run.folder.glob("tensorboard/*"))


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(ValueError, match="TensorBoard is not installed; in the project"):
        write_event_files(open_run(tmp_path, "lead", {}))
