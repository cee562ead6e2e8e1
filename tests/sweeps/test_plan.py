"""The plan of a sweep: its runs, their order and what they need."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers.sweep_experiments import SPEC, emoji_experiment

from uda.cli.arguments import read_config
from uda.cli.main import main, parse
from uda.config import (
    CONFIGS,
    AdaptConfig,
    AugmentConfig,
    DataConfig,
    Experiment,
    ModelConfig,
    SweepConfig,
)
from uda.stages.identity import adapt_run, source_run
from uda.sweeps.plan import plan


def test_every_run_once_and_sources_before_what_needs_them():
    jobs, expected = plan(emoji_experiment(pairs=["Tw2Fl", "Tw2No", "No2Fl"], seeds=[0, 2]), SPEC)
    trained = [job for job in jobs if job.stage == "train"]
    assert len(trained) == 2 * 2 * 2  # Twemoji and Noto, without and with GenMix, two seeds
    assert len(jobs) - len(trained) == len(expected) == 3 * 2 * 2 * 2
    assert len({job.run.folder for job in jobs}) == len(jobs)
    seen: set[Path] = set()
    for job in jobs:
        assert job.needs is None or job.needs in seen
        seen.add(job.run.folder)
    assert {run.run_folder for run in expected} == {
        job.run.folder for job in jobs if job.stage == "adapt"
    }
    # By pair, then row, then seed; the first seed of all is run first.
    assert [(run.pair, run.row_title, run.seed) for run in expected[:5]] == [
        ("Tw2Fl", "Source-only", 0),
        ("Tw2Fl", "Source-only", 2),
        ("Tw2Fl", "Source + GenMix", 0),
        ("Tw2Fl", "Source + GenMix", 2),
        ("Tw2Fl", "LEAD", 0),
    ]
    assert [job.experiment.seed for job in jobs] == [0] * 16 + [2] * 16


def test_the_runs_are_those_of_the_single_commands():
    jobs, _ = plan(
        emoji_experiment(pairs=["Tw2Fl"], methods=["lead"], augmentations=["genmix"]), SPEC
    )
    single = replace(
        emoji_experiment(),
        data=DataConfig(scenario="opda", source="Twemoji", target="Fluent3D"),
        augment=AugmentConfig("genmix", options={"genmix": {"edits_per_image": 6}}),
    )
    assert [job.run for job in jobs] == [source_run(single, SPEC), adapt_run(single, SPEC)]


def test_all_pairs_and_in_domain_training():
    _, expected = plan(emoji_experiment(methods=["lead"], augmentations=["none"]), SPEC)
    assert len({run.pair for run in expected}) == 5 * 4
    jobs, expected = plan(emoji_experiment(scenario="", pairs=["No", "Twemoji"]), SPEC)
    assert [job.stage for job in jobs] == ["train"] * 4
    assert [(run.pair, run.target, run.row_title) for run in expected] == [
        ("No", "", "No augmentation"),
        ("No", "", "GenMix"),
        ("Tw", "", "No augmentation"),
        ("Tw", "", "GenMix"),
    ]
    assert len(plan(emoji_experiment(scenario=""), SPEC)[1]) == 5 * 2


def test_a_source_is_trained_only_for_what_is_left(tmp_path):
    wanted = emoji_experiment(tmp_path, pairs=["Tw2Fl"], methods=["lead"], seeds=[0])
    jobs, _ = plan(wanted, SPEC)
    assert [job.stage for job in jobs] == ["train", "train", "adapt", "adapt"]
    jobs[2].run.start()
    jobs[2].run.mark_done()  # unpacked from elsewhere, say
    left, expected = plan(wanted, SPEC)
    assert [job.title for job in left] == [job.title for job in jobs[1:]]
    assert len(expected) == 2


def test_entries_are_laid_over_the_experiment():
    jobs, expected = plan(
        emoji_experiment(
            pairs=["Tw2Fl"],
            methods=["lead", {"method": "shot_o", "epochs": 15, "rate": 1, "batch_norm": "source"}],
            augmentations=[
                {"name": "genmix", "copies": 2},
                {"title": "In-domain", "name": "genmix", "options": {"genmix": {"prompts": "all"}}},
            ],
        ),
        SPEC,
    )
    assert [run.row_title for run in expected] == [
        "LEAD + GenMix",
        "LEAD + In-domain",
        "SHOT-O + GenMix",
        "SHOT-O + In-domain",
    ]
    assert [job.kind for job in jobs[:2]] == ["train + GenMix", "train + In-domain"]
    last = jobs[-1].run.config
    assert last["adapt"]["epochs"] == 15
    assert type(last["adapt"]["rate"]) is float
    assert last["adapt"]["batch_norm"] == "source"
    options = last["source"]["augment"]["options"]
    assert (options["prompts"], options["edits_per_image"]) == ("all", 6)
    assert jobs[0].run.config["augment"]["copies"] == 2


def test_a_method_is_run_with_the_augmentations_that_its_entry_names():
    jobs, expected = plan(
        emoji_experiment(
            pairs=["Tw2Fl"],
            methods=[
                {"method": "source_only", "augmentations": ["none"]},
                {"method": "lead", "augmentations": ["none", "two copies"]},
            ],
            augmentations=["none", "mixup", {"title": "two copies", "name": "genmix", "copies": 2}],
        ),
        SPEC,
    )
    assert [run.row_title for run in expected] == ["Source-only", "LEAD", "LEAD + two copies"]
    trained = [job.title for job in jobs if job.stage == "train"]
    assert trained == ["train Tw s0", "train + two copies Tw s0"]


def test_what_starts_from_the_backbone_waits_for_no_source_model():
    entry = {"method": "ovanet", "start": "backbone"}
    jobs, _ = plan(
        emoji_experiment(pairs=["Tw2Fl"], methods=[entry], augmentations=["none", "genmix"]), SPEC
    )
    assert [(job.stage, job.needs, bool(job.prepares)) for job in jobs] == [
        ("adapt", None, False),
        ("adapt", None, True),
    ]


def test_rows_that_need_the_same_edits_prepare_the_same():
    def row(title, **options):
        return {"title": title, "name": "genmix", "options": {"genmix": options}}

    rows = [
        "mixup",
        "genmix",
        row("no fractal", fractal_weight=0.0, join="cutmix"),
        row("by name", prompts="graffiti, retro comic, chalk drawing, watercolor painting, "
            "digital art, cartoon style"),
        row("other prompts", prompts="in-domain"),
        row("another editor", editor="instruct-pix2pix"),
        row("more", edits_per_image=7),
        row("not screened", screening="none"),
    ]  # fmt: skip
    jobs, _ = plan(
        emoji_experiment(pairs=["Tw2Fl", "No2Fl"], augmentations=rows, seeds=[0, 1]), SPEC
    )
    trained = [job for job in jobs if job.stage == "train"]
    kinds = {}
    for job in trained:
        kinds.setdefault(job.prepares, []).append(job.title)
    assert all("Mixup" in title for title in kinds.pop(""))
    same = [f"train + {name} Tw s{seed}" for seed in (0, 1)
            for name in ("GenMix", "no fractal", "by name")]  # fmt: skip
    assert same in list(kinds.values())
    assert len(kinds) == 2 * 5  # Twemoji's and Noto's


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"pairs": ["Tw2Xx"]}, "no pair 'Tw2Xx'"),
        ({"pairs": []}, "sweep.pairs: must not be empty"),
        ({"methods": ["leed"]}, "'leed' is not one of"),
        ({"methods": [{"method": "lead", "epoch": 3}]}, "unknown key 'epoch'"),
        ({"methods": [{"method": "lead", "checkpoint": "a.pt"}]}, "unknown key 'checkpoint'"),
        ({"methods": [{"epochs": 3}]}, "lacks the key 'method'"),
        ({"methods": [{"method": "lead", "epochs": "3"}]}, "epochs: '3' is not a int"),
        ({"methods": ["lead", {"method": "lead", "epochs": 3}]}, "two rows are called 'LEAD"),
        ({"methods": ["lead", {"title": "Same", "method": "lead"}]}, "are the same runs"),
        (
            {"methods": [{"method": "lead", "augmentations": ["mixup"]}]},
            "sweep.methods: augmentations: 'mixup' is not one of the sweep's: none, genmix",
        ),
        ({"augmentations": ["genmax"]}, "'genmax' is not one of"),
        ({"augmentations": [{"name": "genmix", "options": {"genmix": {"p": 1}}}]}, "genmix.p"),
        ({"seeds": [1, 1]}, "sweep.seeds"),
        ({"seeds": [-1]}, "sweep.seeds"),
        ({"name": "../x"}, "sweep.name"),
    ],
)
def test_mistakes_are_named(sweep, words):
    with pytest.raises(ValueError, match=words):
        plan(emoji_experiment(**sweep), SPEC)


def test_as_many_classes_as_dimensions_are_refused_before_anything_is_trained():
    narrow = replace(emoji_experiment(), model=ModelConfig(bottleneck_dim=15))
    with pytest.raises(ValueError, match="15 for 15; say --model.bottleneck_dim 16, or another"):
        plan(narrow, SPEC)
    plan(replace(narrow, sweep=SweepConfig(methods=["source_only", "glc"])), SPEC)
    plan(replace(narrow, data=DataConfig()), SPEC)  # in one domain nothing is adapted


def test_a_checkpoint_is_refused():
    experiment = replace(emoji_experiment(), adapt=AdaptConfig(checkpoint="x.pt"))
    with pytest.raises(ValueError, match="adapt.checkpoint"):
        plan(experiment, SPEC)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("emoji_home_opda", 24 + 144),
        ("emoji_home_osda", 8 + 48),
        ("emoji_home_pda", 8 + 48),
        ("emoji_home_answers", 16 + 288),
        ("emoji_home_quickstart", 4 + 7),
        ("emoji_home_composed", 8 + 16),
        ("emoji_home_baselines", 8 + 40),
        ("emoji_home_augmentations", 12 + 24),
        ("emoji_home_settings", 26 + 52),
        ("emoji_home_lead_apart", 6 + 66),
        ("emoji_home_clusters", 4 + 32),
        ("emoji_home_in_domain", 18),
        ("emoji_home_components", 18),
        ("office_home_opda", 24 + 144),
        ("office_home_osda", 24 + 144),
        ("office_home_pda", 24 + 144),
    ],
)
def test_the_experiments_of_the_repository(name, count, capsys, tmp_path):
    config = CONFIGS / "experiments" / f"{name}.yaml"
    more = ["--dry-run", f"--runs={tmp_path / 'runs'}", "--workers=2"]
    assert main(["sweep", str(config), *more]) == 0
    (last,) = (line for line in capsys.readouterr().out.splitlines() if "together" in line)
    assert last.split()[-3:] == [str(count), "0", str(count)]
    assert not (tmp_path / "runs").exists()


def test_no_two_experiments_share_a_name():
    """Sweeps of the same name in a folder of runs take each other's record."""
    files = (CONFIGS / "experiments").rglob("*.yaml")
    configs = {file.stem: read_config(file, yaml.safe_load) for file in files}
    names = [config.get("sweep", {}).get("name", stem) for stem, config in configs.items()]
    assert len(set(names)) == len(names)


def test_smaller_experiments_share_the_runs_of_the_large_one(tmp_path):
    def folders(name):
        _, options = parse(["sweep", str(CONFIGS / "experiments" / f"{name}.yaml")])
        keys = ("data", "images", "model", "train", "augment", "adapt", "sweep")
        jobs, _ = plan(Experiment(**{key: options[key] for key in keys}), SPEC)
        return {job.run.folder.name for job in jobs}

    large = folders("emoji_home_opda")
    assert len(large & folders("emoji_home_baselines")) == 4 * 2 + 4 * 2 * 2
    assert len(large & folders("emoji_home_augmentations")) == 2 * 2 + 2 * 2 * 2
    assert len(large & folders("emoji_home_lead_apart")) == 6 + 2 * 6
    assert len(large & folders("emoji_home_clusters")) == 4 + 8
