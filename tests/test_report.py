import numpy as np
import pytest
import torch
from PIL import Image
from tiny import make_dataset

from uda.report import draw_stages, mean_and_deviation, row_title, write_report
from uda.runs import open_run


def finished(runs, dataset, method, augment, seed, scores, rate=0.1):
    """A finished adaptation with the h_score of each epoch, from 0 on."""
    config = {
        "stage": "adapt",
        "source": {
            "data": {
                "dataset": str(dataset),
                "source": "Plain",
                "scenario": "opda",
                "concepts": "shared",
            },
            "augment": {"name": augment},
            "seed": seed,
        },
        "target": "Dark",
        "adapt": {"method": method, "rate": rate},
    }
    run = open_run(runs, f"{method}-{augment}-s{seed}", config)
    for epoch, score in enumerate(scores):
        run.log(kind="evaluate", epoch=epoch, h_score=score, known_acc=10.0, unknown_acc=20.0)
    run.mark_done()
    return run


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "tiny", per_class=1)


def test_row_titles():
    assert row_title("source_only", "none") == "Source-only"
    assert row_title("source_only", "genmix") == "Source + GenMix"
    assert row_title("lead", "none") == "LEAD"
    assert row_title("lead", "genmix") == "LEAD + GenMix"


def test_mean_and_deviation():
    assert mean_and_deviation([38.7, 45.8, 38.1]) == "40.9 ± 4.3"
    assert mean_and_deviation([40.0]) == "40.0"
    assert mean_and_deviation([40.0, None]) == "undefined"


def test_last_epoch_counts_and_the_oracle_stands_beside_it(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [70, 50, 40])
    finished(runs, dataset, "lead", "none", 1, [70, 44, 44])
    finished(runs, dataset, "source_only", "none", 0, [30])
    text = write_report(runs, "Title")
    rows = [line for line in text.splitlines() if line.startswith(("| LEAD", "| Source"))]
    # Epoch 0 is the source model: no epoch of adaptation, so the oracle cannot choose it.
    assert rows == [
        "| Source-only | 30.0 | 10.0 | 20.0 | – | 0 |",
        "| LEAD | 42.0 ± 2.8 | 10.0 ± 0.0 | 20.0 ± 0.0 | 47.0 ± 4.2 | 0 1 |",
    ]
    assert "by epoch" in (runs / "report.md").read_text()


def test_runs_that_differ_in_more_than_the_seed_are_rows_of_their_own(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [1, 40])
    finished(runs, dataset, "lead", "none", 1, [1, 42])
    finished(runs, dataset, "lead", "none", 0, [1, 10], rate=0.2)
    text = write_report(runs, "Title")
    assert "| LEAD (adapt.rate=0.1) | 41.0 ± 1.4 |" in text
    assert "| LEAD (adapt.rate=0.2) | 10.0 |" in text


def test_classes_left_out_are_named(tmp_path, dataset):
    run = finished(tmp_path / "runs", dataset, "lead", "none", 0, [1])
    run.log(
        kind="evaluate",
        epoch=1,
        h_score=2.0,
        known_acc=1.0,
        unknown_acc=1.0,
        empty_classes=["cross"],
    )
    assert "without a picture, left out: cross." in write_report(tmp_path / "runs", "T")


def test_an_undefined_score_is_said(tmp_path, dataset):
    finished(tmp_path / "runs", dataset, "lead", "none", 0, [None, None])
    assert "| LEAD | undefined | 10.0 | 20.0 | – | 0 |" in write_report(tmp_path / "runs", "T")


def test_unfinished_runs_are_named_not_counted(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [1, 2])
    half = finished(runs, dataset, "lead", "none", 1, [1, 3])
    (half.folder / "done").unlink()
    assert "| LEAD | 2.0 | " in write_report(runs, "T")
    assert half.folder.name in (runs / "report.md").read_text()
    (runs / "lead-none-s0").mkdir()  # a folder that is no run
    write_report(runs, "T")


def test_nothing_finished_is_an_error(tmp_path, dataset):
    half = finished(tmp_path / "runs", dataset, "lead", "none", 0, [1])
    (half.folder / "done").unlink()
    with pytest.raises(ValueError, match="no adaptation in it has finished"):
        write_report(tmp_path / "runs", "T")


def test_stages_are_drawn(tmp_path):
    image = torch.randint(0, 256, (3, 9, 9), dtype=torch.uint8)
    draw_stages([{"original": image, "mask": torch.ones(9, 9)}] * 2, tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as drawn:
        assert np.asarray(drawn).std() > 10
