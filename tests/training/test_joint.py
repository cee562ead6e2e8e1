"""Methods that learn from the source's pictures beside the target's."""

import shutil
from dataclasses import replace

import pytest
import torch
from helpers.tiny import arguments, make_dataset
from helpers.training import CPU, SIZES, Killed, changed, labelled, unlabelled
from helpers.two_processes import JOINT, JOINT_METHODS, Tinted, joint

from uda.augment import AUGMENTATIONS
from uda.cli.main import main
from uda.config import TrainConfig
from uda.methods import METHODS
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs
from uda.training.source_batches import SourceBatches
from uda.training.state import Loop
from uda.training.target_batches import target_batches

LOOP = Loop(SIZES, 0, CPU)


def batches(dataset, **options):
    settings = TrainConfig(batch_size=8)
    return SourceBatches(labelled(dataset), Tinted(), 1, 5, settings, LOOP, **options)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("tiny"), per_class=5)


def test_a_stream_is_the_epochs_of_training_one_after_another(dataset):
    source = batches(dataset)
    per_epoch = source.steps_per_epoch
    epochs = [
        batch
        for epoch in range(3)
        for batch in source.epoch(epoch, 1 + epoch * per_epoch, per_epoch)
    ]
    first, count = per_epoch - 1, per_epoch + 3  # from within the first to within the third
    streamed = list(source.stream(first, count))
    assert len(streamed) == count
    for ours, theirs in zip(streamed, epochs[first - 1 :][:count], strict=True):
        assert torch.equal(ours.rows, theirs.rows)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.targets, theirs.targets)


def test_the_targets_batches_go_on_from_any_step(dataset):
    resized = unlabelled(dataset).images
    every = list(target_batches(resized, 0, 9, 8, LOOP))  # three passes of three
    rest = list(target_batches(resized, 2, 5, 8, LOOP))
    assert len(every) == 9
    for ours, theirs in zip(rest, every[2:7], strict=True):
        assert torch.equal(ours.rows, theirs.rows)
        assert torch.equal(ours.images, theirs.images)
    assert not torch.equal(every[0].rows, every[3].rows)


def test_balanced_classes_come_equally_often(dataset):
    source = batches(dataset)
    source.data.labels[:] = torch.arange(len(source.data.labels)).clamp_max(1)  # 1 and 24 of them
    balanced = SourceBatches(source.data, Tinted(), 1, 5, source.settings, LOOP, balanced=True)
    steps = 40 * balanced.steps_per_epoch
    seen = torch.cat([batch.rows for batch in balanced.stream(1, steps)])
    share = (balanced.data.labels[balanced.originals(seen)] == 0).float().mean()
    assert 0.45 < float(share) < 0.55


@pytest.mark.parametrize("name", JOINT_METHODS)
def test_a_killed_run_goes_on_to_the_same_weights(dataset, tmp_path, name):
    undisturbed = joint(dataset, tmp_path / "a", name)
    with pytest.raises(Killed):
        joint(dataset, tmp_path / "b", name, kill_at=2)
    assert not changed(undisturbed, joint(dataset, tmp_path / "b", name))
    assert JOINT.epoch_steps > 3  # so that epochs begin within passes


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A dataset, and the folder with the run of a source model."""
    folder = tmp_path_factory.mktemp("source")
    dataset = make_dataset(folder, per_class=5)
    assert main(["train", *arguments(dataset, folder / "runs")]) == 0
    return dataset, folder / "runs"


@pytest.fixture
def runs(source, tmp_path):
    """A copy of the folder of runs."""
    return shutil.copytree(source[1], tmp_path / "runs")


def adapted(source, runs, name, *more):
    """Adapt by the method; return the run."""
    flags = [f"--adapt.method={name}", "--data.target=Dark", "--adapt.epochs=1", *more]
    assert main(["adapt", *arguments(source[0], runs, *flags)]) == 0
    (run,) = (run for run in find_runs(runs) if run.is_adaptation)
    return run


@pytest.mark.parametrize("name", JOINT_METHODS)
@pytest.mark.parametrize("scenario", ["opda", "osda", "pda"])
def test_it_runs_under_every_scenario_answers_and_is_exported(
    source, tmp_path, capsys, name, scenario
):
    runs = tmp_path / "runs"
    flags = ["--adapt.start=backbone", f"--data.scenario={scenario}"]
    run = adapted(source, runs, name, *flags)
    assert {"heads", "memory"} <= read_checkpoint(run.checkpoint)["method"].keys()
    assert main(["evaluate", str(run.folder)]) == 0
    pictures = source[0].parent / "pictures" / "Dark"
    assert main(["predict", str(run.folder), str(pictures), f"--out={tmp_path / 'a.csv'}"]) == 0
    text = (tmp_path / "a.csv").read_text()
    assert ("unknown," in text.split("\n", 1)[1]) <= (scenario != "pda")
    if scenario == "opda":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("pytorch_grad_cam")
        assert main(["export", str(run.folder), f"--out={tmp_path / 'a.onnx'}"]) == 0
        assert main(["explain", str(run.folder), str(pictures), f"--out={tmp_path / 'a.png'}"]) == 0
        assert main(["select", str(runs)]) == 0
    if (scenario, name) == ("opda", "ovanet"):  # reports know no methods apart
        assert main(["report", str(runs)]) == 0
        assert METHODS[name].title in capsys.readouterr().out


@pytest.fixture(scope="module")
def plain(source, tmp_path_factory):
    """A run without augmentation."""
    return adapted(source, tmp_path_factory.mktemp("plain"), "ovanet", "--adapt.start=backbone")


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_every_augmentation_reaches_them(source, plain, tmp_path, name):
    run = adapted(
        source,
        tmp_path / "runs",
        "ovanet",
        "--adapt.start=backbone",
        f"--augment.name={name}",
        f"--store={tmp_path / 'store'}",
    )
    assert run.config["source"]["augment"]["name"] == name
    ours, theirs = (read_checkpoint(r.checkpoint)["model"] for r in (run, plain))
    assert bool(changed(ours, theirs)) == (name != "none")


def test_it_starts_from_the_source_model_too(source, runs):
    run = adapted(source, runs, "ovanet")
    assert "start" not in run.config["adapt"]
    assert run.config["adapt"].get("batch_norm") is None


def test_the_augmentation_is_part_of_a_run_from_a_given_checkpoint(source, runs):
    (trained,) = find_runs(runs)
    given = f"--adapt.checkpoint={trained.checkpoint}"
    plain = adapted(source, runs / "a", "ovanet", given)
    mixed = adapted(source, runs / "b", "ovanet", given, "--augment.name=mixup")
    assert plain.hash != mixed.hash
    assert mixed.config["adapt"]["augment"]["name"] == "mixup"


def test_how_a_source_model_is_trained_is_no_part_of_a_run_from_the_backbone(source, runs):
    flags = ["--adapt.start=backbone"]
    first = adapted(source, runs / "a", "ovanet", *flags)
    second = adapted(source, runs / "b", "ovanet", *flags, "--train.steps=7")
    assert first.hash == second.hash


def test_heads_answer_anew_by_another_threshold(source, runs):
    adapted(source, runs, "ovanet")
    flags = ["--adapt.method=ovanet", "--data.target=Dark", "--adapt.epochs=1"]
    answer = ["--answer.views=2", "--answer.threshold=two-means"]
    assert main(["adapt", *arguments(source[0], runs, *flags, *answer)]) == 0
    (run,) = (run for run in find_runs(runs) if run.answer)
    assert main(["evaluate", str(run.folder)]) == 0


def test_mistakes_are_named(source, runs, capsys):
    flags = ["--data.target=Dark", "--adapt.start=backbone"]
    assert main(["adapt", *arguments(source[0], runs, *flags)]) == 1
    assert "adapt.start: lead sees no source picture" in capsys.readouterr().err
    many = ["--data.target=Dark", "--adapt.method=ovanet", "--adapt.batch_size=18"]
    assert main(["adapt", *arguments(source[0], runs, *many)]) == 1
    assert "18 is more than the 15 images of the source" in capsys.readouterr().err


def test_a_checkpoint_without_the_methods_layers_is_named(source, runs, capsys):
    run = adapted(source, runs, "ovanet")
    checkpoint = read_checkpoint(run.checkpoint)
    torch.save(checkpoint | {"method": {}}, run.checkpoint)
    assert main(["evaluate", str(run.folder)]) == 1
    assert "has not OVANet's own layers" in capsys.readouterr().err


def test_settings_of_a_joint_method(dataset):
    with pytest.raises(ValueError, match=r"adapt\.start: 'x' is neither source nor backbone"):
        replace(JOINT, start="x")
    with pytest.raises(ValueError, match=r"leave adapt\.checkpoint out"):
        replace(JOINT, start="backbone", checkpoint="a.pt")
