"""A frozen backbone: its features are computed once, and the layers behind it are trained."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from helpers.tiny import arguments, make_dataset

import uda
from uda.cli.main import main, parse
from uda.config import Experiment
from uda.data.partition import source_parts
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.data.views import centre_crop, to_float
from uda.methods import METHODS
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import Run, find_runs
from uda.stages.build import Task
from uda.stages.edits import prepare_edits
from uda.stages.frozen import labelled_features
from uda.stages.identity import source_run
from uda.training import frozen
from uda.training.source_batches import SourceBatches

WITH_VIEWS = "cmu"  # the method that takes further views of each picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a file of backbone weights, and the run of a source model."""
    root = tmp_path_factory.mktemp("frozen")
    make_dataset(root)
    save_weights(root / "weights.pth", 1)
    assert main(["train", *flags(root)]) == 0
    return root


def save_weights(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save(timm.create_model("test_efficientnet", num_classes=0).state_dict(), path)


def flags(root: Path, *more: str, runs: str = "runs") -> list[str]:
    return arguments(
        root / "tiny.yaml",
        root / runs,
        "--model.frozen=true",
        f"--model.weights={root / 'weights.pth'}",
        f"--compute.cache={root / 'cache'}",
        *more,
    )


def source(root: Path) -> Run:
    """Return the run of the source model."""
    (run,) = (run for run in find_runs(root / "runs") if run.is_done and not run.is_adaptation)
    return run


def adapted(root: Path, method: str, *more: str) -> Run:
    """Adapt the source model by ``method``; return the run with the answers of ``more``."""
    target = ["--data.target=Dark", f"--adapt.method={method}", "--adapt.epochs=1"]
    before = set(find_runs_of(root))
    assert main(["adapt", *flags(root, *target, *more)]) == 0
    (run,) = (
        run
        for folder, run in find_runs_of(root).items()
        if folder not in before and bool(run.answer) == any("answer" in flag for flag in more)
    )
    return run


def find_runs_of(root: Path) -> dict[Path, Run]:
    return {run.folder: run for run in find_runs(root / "runs")}


def task_of(root: Path, *more: str) -> tuple[Task, torch.nn.Module]:
    """Return the task of training a source model, and its network."""
    _, options = parse(["train", *flags(root, *more)])
    names = vars(Experiment())
    experiment = Experiment(**{name: options[name] for name in names if name in options})
    spec = load_dataset_spec(str(root / "tiny.yaml"))
    split = class_split(spec, experiment.data.scenario)
    task = Task(experiment, spec, split, source_run(experiment, spec))
    return task, task.model()


def test_checkpoints_have_the_layers_behind_the_backbone_alone(folder):
    names = set(read_checkpoint(source(folder).checkpoint)["model"])
    assert {name for name in names if name.startswith("backbone")} == {"backbone.fingerprint"}
    assert any(name.startswith("bottleneck") for name in names)


@pytest.mark.parametrize("name", ["genmix", "randaugment"])
def test_features_are_those_of_the_pictures_of_a_first_epoch(folder, name):
    task, model = task_of(folder, f"--augment.name={name}")
    model.eval()
    data = task.labelled(source_parts(task.experiment, task.spec, task.split).train)
    prepare_edits(task, data)
    features = labelled_features(task, model, data)
    experiment = task.experiment
    loop = replace(task.loop(), images=experiment.images)
    pixels = SourceBatches(data, task.augmentation, 1, 5, experiment.train, loop)
    kept = SourceBatches(features, task.augmentation, 1, 5, experiment.train, task.loop())
    assert kept.num_rows == pixels.num_rows == len(data.images) * (1 + (name == "genmix"))
    rows = torch.arange(kept.num_rows)
    crops = centre_crop(pixels.whole_images(rows, 0), experiment.images.crop_px)
    with torch.no_grad():
        images = to_float(crops, torch.device("cpu"))
        expected = model.backbone((images - model.mean) / model.std)
    ours = kept.whole_images(rows, 3)  # the same in every epoch
    torch.testing.assert_close(ours.flatten(1), expected, rtol=1e-4, atol=1e-4)
    augmented = slice(kept.first_augmented, None)
    plain = expected[: len(data.images)][-len(ours[augmented]) :]
    assert name == "randaugment" or not torch.allclose(ours[augmented].flatten(1), plain)


@pytest.mark.parametrize("method", ["adabn", "glc", "ovanet", "uniot"])
def test_methods_adapt_what_is_behind_it(folder, method):
    run = adapted(folder, method)
    before, after = (read_checkpoint(r.checkpoint)["model"] for r in (source(folder), run))
    same = {name for name in before if torch.equal(before[name], after.get(name, before[name]))}
    assert "backbone.fingerprint" in same
    trains = METHODS[method].trains
    assert ("bottleneck.0.weight" in same) == (trains != "weights")
    assert ("bottleneck.1.running_mean" in same) == (trains == "nothing")


def test_a_picture_gets_the_answer_that_its_features_got(folder, tmp_path):
    run = adapted(folder, "source_only", "--answer.views=2", "--answer.threshold=two-means")
    answers = run.predictions()
    pictures = folder / "pictures" / "Dark"
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(run.folder), str(pictures), f"--out={out}"]) == 0
    rows = list(csv.DictReader(out.open()))
    ours = {str(Path(row["path"]).relative_to(pictures)): row for row in rows}
    for name, score in zip(answers["name"], answers["unknown_score"], strict=True):
        assert float(ours[name]["unknown_score"]) == pytest.approx(float(score), abs=2e-4)
    model = uda.load(run.folder)
    assert len(model.classes) == 3


def test_features_are_computed_once(folder, monkeypatch):
    adapted(folder, "source_only", "--seed=0", "--answer.views=2", "--answer.score=entropy")
    monkeypatch.setattr(frozen, "features_by", None)
    adapted(folder, "lead", "--adapt.rate=0.002", "--answer.views=2", "--answer.score=entropy")


def test_a_vision_transformer_can_be_at_rest(folder):
    sizes = ["--images.resize_px=32", "--images.crop_px=32"]
    network = ["--model.backbone=timm:test_vit", "--model.weights=none"]
    assert main(["train", *flags(folder, *sizes, *network, runs="vit")]) == 0
    (run,) = find_runs(folder / "vit")
    assert run.is_done


def test_an_in_domain_classifier_is_scored_on_features(folder, tmp_path):
    without = [flag for flag in flags(folder, runs="in_domain") if "scenario" not in flag]
    assert main(["train", *without, "--train.robustness=false"]) == 0
    (run,) = find_runs(folder / "in_domain")
    lines = run.metrics("evaluate")
    final = run.metrics("final")[-1]
    assert final["top1"] == lines[-1]["top1"]  # of pictures, and of their features
    assert main(["evaluate", str(run.folder)]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--augment.name=mixup"], "augment.name: mixup mixes the pictures of a batch"),
        (["--model.weights=none.pth"], "none.pth"),
    ],
)
def test_mistakes_of_training_are_named(folder, capsys, more, message):
    assert main(["train", *flags(folder, *more, runs="wrong")]) == 1
    assert message in capsys.readouterr().err


def test_a_head_that_leaves_nothing_to_train_is_named(folder, capsys):
    linear = ["--model.head=linear"]
    assert main(["train", *flags(folder, *linear, runs="linear")]) == 0
    target = ["--data.target=Dark", "--adapt.method=glc"]
    assert main(["adapt", *flags(folder, *linear, *target, runs="linear")]) == 1
    assert "take --model.head bottleneck_wn" in capsys.readouterr().err


def test_a_method_with_further_views_is_refused(folder, capsys):
    target = ["--data.target=Dark", f"--adapt.method={WITH_VIEWS}"]
    assert main(["adapt", *flags(folder, *target)]) == 1
    assert f"adapt.method: {WITH_VIEWS} takes further views" in capsys.readouterr().err


def test_other_weights_of_the_backbone_are_noticed(folder, capsys):
    run = adapted(
        folder,
        "source_only",
        "--adapt.rate=0.003",
        "--adapt.options.source_only={entropy_threshold: 0.5}",
    )
    kept = (folder / "weights.pth").read_bytes()
    try:
        save_weights(folder / "weights.pth", 2)
        assert main(["evaluate", str(run.folder)]) == 1
        assert "trained on features of other weights" in capsys.readouterr().err
        (folder / "weights.pth").unlink()
        assert main(["evaluate", str(run.folder)]) == 1
        assert "weights.pth" in capsys.readouterr().err
    finally:
        (folder / "weights.pth").write_bytes(kept)
