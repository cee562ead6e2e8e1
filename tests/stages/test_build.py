import shutil
from pathlib import Path

import pytest
from helpers.phone import tag
from helpers.tiny import make_dataset

from uda.config import DataConfig, Experiment
from uda.data.items import domain_items
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.runs.folder import open_run
from uda.stages.build import Task


@pytest.fixture
def task(tmp_path) -> Task:
    """A task on two domains of two pictures a class."""
    spec = load_dataset_spec(str(make_dataset(tmp_path, per_class=2)))
    experiment = Experiment(data=DataConfig(source="Plain", target="Dark", scenario="opda"))
    run = open_run(tmp_path / "runs", "train", {"stage": "train"})
    return Task(experiment, spec, class_split(spec, "opda"), run)


def test_a_run_goes_on_reading_pictures_as_it_began(task, capsys):
    items = domain_items(task.spec, "Dark")
    tag(items[3].path)
    task.run.start()
    assert task.pixels.upright
    task.say_what_is_read("Dark", items)
    assert capsys.readouterr().out == ""
    (task.run.folder / "upright").unlink()  # as older runs are
    assert not task.pixels.upright
    task.say_what_is_read("Dark", items)
    line = "made before pictures were turned as their EXIF tags say, which some have"
    assert capsys.readouterr().out.startswith(f"{task.run.folder}: {line}")
    task.say_what_is_read("Plain", domain_items(task.spec, "Plain"))  # none has a tag
    assert capsys.readouterr().out == ""


def test_a_stage_says_what_it_passes_over_until_its_run_is_done(task, capsys):
    dark: Path = task.spec.root / "Dark"
    shutil.copy(dark / "bar" / "00.png", dark)
    for expected in (f"Passed over in {dark}: a picture in no class's folder (00.png)\n", ""):
        task.say_what_is_read("Dark", domain_items(task.spec, "Dark"))
        assert capsys.readouterr().out == expected
        task.run.start()
        task.run.mark_done()
