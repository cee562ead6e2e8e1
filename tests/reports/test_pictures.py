"""Reports of runs that were made of other pictures than those that there are."""

from __future__ import annotations

from helpers.boards import board_of
from helpers.made_runs import finished, predict

from uda.data.fingerprints import PictureSet
from uda.data.items import domain_items
from uda.data.spec import load_dataset_spec
from uda.reports.chapter import DrawnPair
from uda.reports.predictions import read_predictions
from uda.reports.results import Pair
from uda.reports.samples import read_samples
from uda.reports.tables.setting import setting_tables

WARNING = "Not all runs are of the same pictures: Pl2Da."


def test_a_report_names_pairs_of_different_pictures(dataset, runs):
    made = [finished(runs, dataset, "lead", "none", seed, [1.0, 2.0]) for seed in (0, 1)]
    for part in ("target", "source"):
        for run, content in zip(made, "ab", strict=True):
            run.save_pictures({part: {"count": 5, "hash": content}})
        assert WARNING in setting_tables(*board_of(runs))["Pl2Da"].notes
        made[0].save_pictures(made[1].pictures())
        assert WARNING not in setting_tables(*board_of(runs))["Pl2Da"].notes


def test_the_numbers_of_scored_pictures_differ_in_older_runs_too(dataset, runs):
    for seed in (0, 1):
        run = finished(runs, dataset, "lead", "none", seed, [1.0])
        run.log(kind="evaluate", epoch=0, h_score=1.0, num_images=seed + 10)
    assert WARNING in setting_tables(*board_of(runs))["Pl2Da"].notes


def test_a_report_shows_no_picture_but_those_that_were_predicted(dataset, runs):
    run = finished(runs, dataset, "lead", "none", 0, [1.0])
    predict(run, ["bar/00.png", "ring/00.png"], [0, 3], [0, 3], [0.1, 0.9])
    setting, _ = board_of(runs)
    spec = load_dataset_spec(str(dataset))
    items = domain_items(spec, "Dark")
    run.save_pictures({"target": PictureSet(tuple(items)).record()})
    predictions = read_predictions(run, spec)
    drawn = DrawnPair(Pair("Plain", "Dark", "Pl2Da"), 0, {"LEAD": predictions})
    assert not read_samples(setting, drawn, "").why
    (ring,) = (item.path for item in items if item.class_name == "ring")
    ring.write_bytes(items[0].path.read_bytes())
    samples = read_samples(setting, drawn, "")
    assert f"{ring} is not the picture that was predicted" in samples.why
    assert not samples.kinds
