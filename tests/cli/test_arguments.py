"""Configuration files, and options of methods and augmentations."""

from __future__ import annotations

import pytest
import yaml

from uda.cli.main import main, parse
from uda.runs.folder import find_runs, read_run


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config"],
        ["--config="],
        ["--config", "--train.steps=3"],
        ["--augment.options.mixup.alpha"],
    ],
)
def test_a_flag_without_its_value_is_named(does_not_parse, arguments):
    does_not_parse(["train", *arguments], f"{arguments[0].strip('=')}: expected a value")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["cannot be read"]),
        ("", ["expected a mapping"]),
        ("train: [", ["not valid YAML"]),
        (b"\xff\xfe\x00", ["not valid YAML"]),
        ("train: 5", ["train: expected a mapping of options, not 5"]),
        ("train: {rate: }", ["train.rate: has no value"]),
        ("adapt:\nseed: 1", ["adapt: expected a mapping of options, not None"]),
        ("adapt: {options: [lead]}", ["adapt.options: expected a mapping of options"]),
        ("augment: {options: {genmix: 3}}", ["augment.options.genmix: expected a mapping"]),
        ("runs: null", ["runs: has no value"]),
    ],
)
def test_a_broken_configuration_file_is_named(fails_with, tmp_path, content, words):
    path = tmp_path / "experiment.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    fails_with(["train", str(path)], str(path), *words)
    fails_with(["train", f"--config={path}"], str(path), *words)
    # Flags of a section do not hide what is wrong with it.
    more = ["--train.rate=1", "--augment.options.genmix.prompts=all", "--adapt.epochs=3"]
    fails_with(["train", str(path), *more], str(path), *words)


@pytest.mark.parametrize(
    ("method", "rate", "epochs"), [("adabn", 0.001, 1), ("shot_o", 0.01, 15), ("glc", 0.001, 10)]
)
def test_a_method_laid_over_an_experiment(capsys, method, rate, epochs):
    """Options of the first file stand, with a flag among them, under a second file without any."""
    files = ["configs/experiments/emoji_home_opda.yaml", f"--config=configs/methods/{method}.yaml"]
    flags = ["--augment.options.genmix.fractal_weight", "0.3", "--print_config"]
    with pytest.raises(SystemExit):
        main(["adapt", *files, *flags])
    config = yaml.safe_load(capsys.readouterr().out)
    adapt = config["adapt"]
    assert (adapt["method"], adapt["rate"], adapt["epochs"]) == (method, rate, epochs)
    genmix = config["augment"]["options"]["genmix"]
    assert genmix == {"prompts": "cross-domain", "edits_per_image": 6, "fractal_weight": 0.3}


def test_numbers_of_options_are_read_as_in_files(tmp_path):
    def options(command, *arguments):
        """What the command would get, and not what it would print."""
        return parse([command, *arguments])[1]

    path = tmp_path / "c.yaml"
    path.write_text("augment: {options: {mixup: {alpha: 1e-1}}}")
    for arguments in (
        [f"--config={path}"],
        ["--augment.options.mixup.alpha", "1e-1"],
        ["--augment.options.mixup={alpha: 1e-1}"],
    ):
        assert options("train", *arguments).augment.options["mixup"] == {"alpha": 0.1}
    path.write_text("adapt: {options: {lead: {ce_weight: 1e-1}}}")
    arguments = [f"--config={path}", "--adapt.options.lead.neighbours=3"]
    assert options("adapt", *arguments).adapt.options["lead"] == {"ce_weight": 0.1, "neighbours": 3}


def test_options_as_flags(flags, runs):
    assert main(["train", *flags]) == 0
    more = ["--adapt.options.lead.neighbours=2", "--adapt.options.lead.confident_weights=true"]
    assert main(["adapt", *flags, "--data.target=Dark", *more]) == 0
    (folder,) = runs.glob("lead-*")
    options = read_run(folder).config["adapt"]["options"]
    assert options["neighbours"] == 2
    assert options["confident_weights"] is True
    assert options["clusters"] == "features"


def test_configuration_file_and_overrides(flags, tmp_path, runs):
    path = tmp_path / "experiment.yaml"
    config: dict = {}
    for flag in flags:
        keys, value = flag[2:].split("=", 1)
        *sections, key = keys.split(".")
        keys_below = config
        for section in sections:
            keys_below = keys_below.setdefault(section, {})
        keys_below[key] = yaml.safe_load(value)
    path.write_text(yaml.safe_dump(config))
    assert main(["train", str(path), "--train.steps=3"]) == 0
    (run,) = find_runs(runs)
    assert run.config["train"]["steps"] == 3
    assert run.config["model"]["bottleneck_dim"] == 16


@pytest.fixture
def experiment(tmp_path):
    """An experiment's file with a base in another folder; the base's keys can be changed."""
    base = {
        "train": {"steps": 5, "rate": 0.5},
        "augment": {"options": {"mixup": {"alpha": 0.3}, "genmix": {"prompts": "all"}}},
        "sweep": {"seeds": [0, 1]},
    }
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "base.yaml").write_text(yaml.safe_dump(base))
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "base: below/base.yaml\n"
        "train: {rate: 1e-1}\n"
        "augment: {options: {genmix: {edits_per_image: 2}}}\n"
        "sweep: {seeds: [3]}\n"
    )
    return path


@pytest.mark.parametrize("flag", [[], ["--config"]])
def test_a_files_keys_are_laid_over_those_of_its_base(experiment, flag):
    _, options = parse(["train", *flag, str(experiment)])
    assert (options["train"].steps, options["train"].rate) == (5, 0.1)
    assert options["sweep"].seeds == [3]
    genmix = {"prompts": "all", "edits_per_image": 2}
    assert options["augment"].options == {"mixup": {"alpha": 0.3}, "genmix": genmix}
    more = ["--train.steps=7", "--augment.options.genmix.prompts=snowy"]
    _, options = parse(["train", *flag, str(experiment), *more])
    assert (options["train"].steps, options["train"].rate) == (7, 0.1)
    assert options["augment"].options["genmix"] == {"prompts": "snowy", "edits_per_image": 2}


def test_what_is_wrong_with_a_base_is_named(fails_with, experiment):
    base = experiment.parent / "below" / "base.yaml"
    base.write_text("base: other.yaml")
    fails_with(["train", str(experiment)], str(experiment), "below/base.yaml has a base itself")
    for name in ("/dev/zero", "/etc/passwd", "below"):
        theirs = experiment.parent / "theirs.yaml"
        theirs.write_text(f"base: {name}")
        fails_with(["train", str(theirs)], f"{theirs}: base: {name!r} names no .yaml file")
    base.write_text("train: 5")
    fails_with(["train", str(experiment)], f"{base}: train: expected a mapping")
    base.unlink()
    fails_with(["train", str(experiment)], f"{base}: cannot be read")


def test_files_of_the_repository_are_read_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = "configs/experiments/emoji_home_osda.yaml"
    _, options = parse(["adapt", file, "--config=configs/methods/shot_o.yaml"])
    assert options["data"].scenario == "osda"
    assert options["adapt"].method == "shot_o"


def test_a_file_in_the_current_folder_counts_before_the_repositorys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "methods").mkdir(parents=True)
    (tmp_path / "configs" / "methods" / "glc.yaml").write_text("train: {steps: 77}")
    assert parse(["train", "configs/methods/glc.yaml"])[1]["train"].steps == 77
