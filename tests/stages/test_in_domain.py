from collections import Counter

import pytest
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main
from uda.config import DataConfig, Experiment
from uda.data.partition import in_domain_parts
from uda.data.spec import load_dataset_spec
from uda.evaluation.robustness import CORRUPTIONS
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs
from uda.stages.in_domain import score_line


@pytest.fixture
def spec(tmp_path):
    return load_dataset_spec(str(make_dataset(tmp_path / "tiny", per_class=20, px=16)))


def parts_of(spec, seed=0, **settings):
    return in_domain_parts(Experiment(data=DataConfig(source="Plain", **settings), seed=seed), spec)


def counts(items):
    """Return the numbers of images that classes have."""
    return set(Counter(item.class_name for item in items).values())


def test_the_parts_are_disjoint_and_complete(spec):
    parts = parts_of(spec, validation=0.25)
    assert [counts(p) for p in (parts.train, parts.validation, parts.test)] == [{12}, {4}, {4}]
    every = [item.path for part in (parts.train, parts.validation, parts.test) for item in part]
    assert len(set(every)) == len(every) == 100
    plain = parts_of(spec)
    assert plain.validation == []
    assert plain.test == parts.test
    assert set(plain.train) == {*parts.train, *parts.validation}


def test_only_the_choice_of_few_training_images_depends_on_the_seed(spec):
    five, other = (parts_of(spec, seed, validation=0.25, images_per_class=5) for seed in (0, 1))
    assert counts(five.train) == {5}
    assert five.train != other.train
    assert (five.validation, five.test) == (other.validation, other.test)
    assert set(five.train) <= set(parts_of(spec, validation=0.25, images_per_class=7).train)
    assert len(parts_of(spec, images_per_class=99).train) == 80


def test_pictures_of_unknown_class_belong_to_no_part(tmp_path):
    rows = [f"{k}.png {k % 2}\n" for k in range(16)] + [f"{k}.png -1\n" for k in range(16, 22)]
    (tmp_path / "a.txt").write_text("".join(rows))
    head = f"title: T\nroot: {tmp_path}\ndomains: {{Plain: a.txt}}\nabbreviations: {{Plain: Pl}}\n"
    (tmp_path / "t.yaml").write_text(head + "classes: [x, y]\nscenarios: {}\n")
    spec = load_dataset_spec(str(tmp_path / "t.yaml"))
    parts = parts_of(spec, validation=0.25)
    every = [*parts.train, *parts.validation, *parts.test]
    assert len(every) == 16
    assert {item.class_name for item in every} == {"x", "y"}
    (tmp_path / "a.txt").write_text("".join(rows[16:]))
    with pytest.raises(ValueError, match="T's Plain: holds no picture of the classes x, y"):
        parts_of(spec)


def test_robustness_can_be_left_out_of_the_same_run(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=8)
    flags = ["--data.scenario=", "--train.steps=1", "--train.robustness=false"]
    flags = arguments(dataset, tmp_path / "runs", *flags)
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    (final,) = run.metrics("final")
    assert {"top1", "ece"} <= final.keys()
    assert not {"fgsm_error", "corruptions"} & final.keys()
    assert "robustness" not in run.config["train"]


@pytest.mark.slow
def test_the_best_pass_by_validation_is_the_result(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny", per_class=20)
    more = ["--data.scenario=", "--data.validation=0.5", "--train.steps=24", "--train.rate=0.05"]
    assert main(["train", *arguments(dataset, tmp_path / "runs", *more)]) == 0
    (run,) = find_runs(tmp_path / "runs")
    lines = run.metrics("validate")
    assert {line["num_images"] for line in lines} == {40}  # the test part has 20
    assert {line["num_images"] for line in run.metrics("evaluate")} == {20}
    best = max(lines, key=lambda line: line["top1"])
    assert read_checkpoint(run.result_checkpoint)["epoch"] == best["epoch"]
    capsys.readouterr()
    assert main(["evaluate", str(run.folder), f"--root={dataset.parent / 'pictures'}"]) == 0
    tested = run.metrics("evaluate")[best["epoch"] - 1]
    final = {line["checkpoint"]: line for line in run.metrics("final")}
    assert final["best"]["epoch"] == best["epoch"]
    for key in ("top1", "top5", "ece"):
        assert final["best"][key] == pytest.approx(tested[key])
    printed = capsys.readouterr().out
    assert f"top-1 {tested['top1']:.1f}, top-5 {tested['top5']:.1f}" in printed
    # What was logged is what `uda evaluate` computes anew, noise included.
    assert printed.strip().endswith(score_line(final["best"]))
    assert final["best"]["fgsm_error"].keys() == {"1/255", "8/255"}
    assert set(final["best"]["corruptions"]) == set(CORRUPTIONS)
    last = final.get("last", final["best"])
    assert last["epoch"] == len(lines)


def test_without_validation_the_last_pass_is_the_result(tmp_path):
    flags = arguments(make_dataset(tmp_path / "tiny"), tmp_path / "runs", "--data.scenario=")
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    (line,) = run.metrics("final")
    assert line["checkpoint"] == "last"
    assert run.held_out_scores() == line
    assert run.result_checkpoint.name == "checkpoint.pt"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data.validation=1"], "data.validation: 1.0 must be at least 0 and below 1"),
        (["--data.images_per_class=-1"], "data.images_per_class"),
        (["--data.scenario=opda", "--data.images_per_class=1"], "in-domain training only"),
        (["--train.schedule=wave"], "inverse, cosine, step"),
        (["--train.milestones=[2]"], "train.milestones"),
        (["--train.ema=1"], "train.ema"),
        (["--train.accumulate=8"], "at least 2 images"),
        (["--train.accumulate=3"], "3 equal parts"),
        (["--train.clip_norm=-1"], "train.clip_norm"),
    ],
)
def test_mistakes_are_reported_in_a_single_line(tmp_path, capsys, more, words):
    dataset = make_dataset(tmp_path / "tiny", per_class=4)
    flags = arguments(dataset, tmp_path / "runs", "--data.scenario=", *more)
    assert main(["train", *flags]) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1
    assert not list((tmp_path / "runs").glob("*/done"))
