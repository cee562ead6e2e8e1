from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny import make_dataset

from uda.config import (
    CONFIGS,
    AdaptConfig,
    ComputeConfig,
    DataConfig,
    Experiment,
    ImageConfig,
    SweepConfig,
    TrainConfig,
    read_yaml,
)
from uda.data.spec import load_dataset_spec
from uda.stages.identity import adapt_run, experiment_of, source_run
from uda.stages.options import method_of

EXPERIMENT = Experiment(data=DataConfig(source="Twemoji", target="Noto", scenario="opda"))
SPEC = load_dataset_spec("emoji_home")


@pytest.mark.parametrize("run_of", [source_run, adapt_run])
def test_the_precision_makes_another_run_and_other_compute_settings_do_not(run_of):
    plain = run_of(EXPERIMENT, SPEC)
    same = ComputeConfig(channels_last=False, compile=True, image_memory_gb=0.5, cache="x")
    assert run_of(replace(EXPERIMENT, compute=same), SPEC) == plain
    lower = run_of(replace(EXPERIMENT, compute=ComputeConfig(precision="bfloat16")), SPEC)
    assert lower.hash != plain.hash
    assert "float32" not in str(plain.config)  # as in runs from before precisions could be chosen


def test_a_run_is_evaluated_in_its_precision():
    lower = replace(EXPERIMENT, compute=ComputeConfig(precision="bfloat16"))
    for run_of in (source_run, adapt_run):
        assert experiment_of(run_of(lower, SPEC), "", "").compute.precision == "bfloat16"
        assert experiment_of(run_of(EXPERIMENT, SPEC), "", "").compute.precision == "float32"


def test_keeping_banks_makes_no_other_run():
    without = replace(EXPERIMENT, adapt=AdaptConfig(keep_banks=False))
    assert adapt_run(without, SPEC) == adapt_run(EXPERIMENT, SPEC)


def test_the_hash_of_emoji_homes_classes_stays():
    # A change to the dataset's file must not rename all runs.
    run = source_run(EXPERIMENT, SPEC)
    assert run.config["classes"] == "718432253e"


def test_later_settings_of_adaptation_do_not_rename_older_runs():
    plain = adapt_run(EXPERIMENT, SPEC)
    options = AdaptConfig(options={"lead": {"split": "norm", "con_weight": 1}}, batch_norm="target")
    assert adapt_run(replace(EXPERIMENT, adapt=options), SPEC) == plain
    for changed in (
        AdaptConfig(batch_norm="source"),
        AdaptConfig(options={"lead": {"split": "cosine"}}),
        AdaptConfig(options={"lead": {"reg_weight": 0}}),
    ):
        other = adapt_run(replace(EXPERIMENT, adapt=changed), SPEC)
        assert other.hash != plain.hash
        assert method_of(experiment_of(other, "", "")).split in ("norm", "cosine")
        assert experiment_of(other, "", "").adapt.batch_norm == changed.batch_norm


def test_runs_from_before_sweeps_keep_their_names():
    raw = read_yaml(CONFIGS / "experiments" / "emoji_home_opda.yaml")
    experiment = Experiment(
        data=DataConfig(**raw["data"]),
        images=ImageConfig(**raw["images"]),
        train=TrainConfig(**raw["train"]),
        adapt=AdaptConfig(**raw["adapt"]),
        sweep=SweepConfig(**raw["sweep"]),
    )
    assert source_run(experiment, SPEC).folder.name == "train-Tw-opda-none-s0-ff30ec438d"
    assert adapt_run(experiment, SPEC).folder.name == "lead-Tw2Fl-opda-none-s0-7f106d1fb9"


IN_DOMAIN = Experiment(data=DataConfig(source="Twemoji"))


def test_later_settings_of_training_do_not_rename_older_runs():
    opda = Experiment(
        data=DataConfig(source="Twemoji", scenario="opda"),
        images=ImageConfig(decode_px=128, resize_px=73, crop_px=64),
        train=TrainConfig(steps=1000, batch_size=32),
    )
    assert source_run(opda, SPEC).folder.name == "train-Tw-opda-none-s0-ff30ec438d"
    plain = source_run(IN_DOMAIN, SPEC)
    same = TrainConfig(milestones=[0.9], step_factor=0.5)  # of another schedule
    assert source_run(replace(IN_DOMAIN, train=same), SPEC) == plain


@pytest.mark.parametrize(
    "changed",
    [
        {"train": TrainConfig(schedule="cosine")},
        {"train": TrainConfig(schedule="step")},
        {"train": TrainConfig(schedule="step", milestones=[0.9])},
        {"train": TrainConfig(warmup_epochs=1.0)},
        {"train": TrainConfig(ema=0.99)},
        {"train": TrainConfig(accumulate=2)},
        {"train": TrainConfig(clip_norm=1.0)},
        {"images": ImageConfig(pad_px=4)},
        {"data": DataConfig(source="Twemoji", validation=0.1)},
        {"data": DataConfig(source="Twemoji", images_per_class=5)},
    ],
    ids=str,
)
def test_each_setting_of_training_makes_another_run(changed):
    others = [IN_DOMAIN, replace(IN_DOMAIN, train=TrainConfig(schedule="step"))]
    if changed.get("train") == others[1].train:
        others.pop()
    run = source_run(replace(IN_DOMAIN, **changed), SPEC)
    assert run.hash not in [source_run(other, SPEC).hash for other in others]
    if "data" in changed:
        assert experiment_of(run, "", "").data == changed["data"]


def test_the_runs_of_a_users_folders_do_not_depend_on_the_path_to_the_runs(tmp_path, monkeypatch):
    make_dataset(tmp_path / "runs" / "datasets", per_class=1)
    monkeypatch.chdir(tmp_path)
    data = DataConfig(source="Plain", target="Dark", scenario="opda")
    hashes = set()
    for runs in (Path("runs"), tmp_path / "runs", tmp_path / "runs" / ".." / "runs"):
        file = runs / "datasets" / "tiny.yaml"
        experiment = Experiment(data=replace(data, dataset=str(file)), runs=str(runs))
        run = adapt_run(experiment, load_dataset_spec(str(file)))
        hashes.add(run.hash)
        assert Path(experiment_of(run, "", "").data.dataset).resolve() == file.resolve()
    assert len(hashes) == 1
    elsewhere = replace(experiment, runs=str(tmp_path / "others"))
    assert adapt_run(elsewhere, load_dataset_spec(str(file))).hash not in hashes
    file.unlink()  # as for a run that was moved without its dataset
    assert experiment_of(run, "", "").data.dataset == "datasets/tiny.yaml"


def test_a_value_that_no_version_has_names_the_run(tmp_path):
    run = adapt_run(EXPERIMENT, SPEC)
    source = {**run.source, "data": {**run.source["data"], "concepts": "x"}}
    strange = replace(run, folder=tmp_path / "run", config={**run.config, "source": source})
    with pytest.raises(
        ValueError, match=r"/run: its configuration is .*\(data.concepts: 'x' is nei"
    ):
        experiment_of(strange, "", "")
