import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny import arguments, make_dataset
from PIL import Image

from genmix_aug.screening.checks import Verdict
from uda.cli.main import _parser, _with_merged_options, main
from uda.reports.choices import CUTS, EPOCHS, epoch_choices, threshold_choices
from uda.runs.folder import find_runs, open_run, read_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "tiny")


@pytest.fixture
def flags(dataset, tmp_path):
    return arguments(dataset, tmp_path / "runs")


def fails_with(capsys, given, *words, code=1):
    """Run, and check for the exit code and one line on standard error that holds ``words``."""
    assert main(given) == code
    error = capsys.readouterr().err.strip()
    assert error.startswith("uda: error: ")
    assert "\n" not in error
    for word in words:
        assert word in error


def refused(capsys, given, *words):
    """The same for what does not parse: exit code 2."""
    fails_with(capsys, given, *words, code=2)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["data"],
        ["data", "export-lists"],
        ["data", "splits"],
        ["data", "check"],
        ["import-lead"],
        ["train"],
        ["adapt"],
        ["sweep"],
        ["run"],
        ["predict"],
        ["export"],
        ["evaluate"],
        ["report"],
    ],
)
def test_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert "usage: uda" in capsys.readouterr().out


def test_unknown_keys_and_wrong_types_are_named(capsys, tmp_path):
    refused(capsys, ["train", "--train.epoch", "3"], "--train.epoch")
    refused(capsys, ["train", "--train.epochs", "many"], "train.epochs")
    refused(
        capsys, ["sweep", "--sweep.pairs", "Tw2Fl"], "--sweep.pairs: expected a list: '[Tw2Fl]'"
    )
    path = tmp_path / "c.yaml"
    path.write_text("train: {epocs: 3}")
    refused(capsys, ["train", "--config", str(path)], "epocs")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data.source=Plane"], ["no domain 'Plane'", "Plain, Dark"]),
        (["--data.source="], ["data.source"]),
        (["--data.target=Plain"], ["data.target", "is the source too"]),
        (["--data.scenario=xda"], ["data.scenario", "opda, osda, pda"]),
        (["--data.dataset=nothing"], ["data.dataset", "emoji_home"]),
        (["--data.root=/nowhere"], ["/nowhere/Plain: no such folder"]),
        (["--augment.name=genmax"], ["augment.name", "'genmax'"]),
        (["--augment.name=genmix", "--augment.options.genmix={prompt: all}"], ["genmix.prompt"]),
        (["--augment.name=genmix", "--augment.options.genmix={prompts: some}"], ["'some'"]),
        (["--model.backbone=resnet19"], ["model.backbone", "'resnet19'"]),
        (["--device=cuda:99"], ["device", "cuda:99"]),
        (["--train.steps=0", "--train.epochs=0"], ["train.epochs"]),
        (["--train.rate=-1"], ["train.rate"]),
        (["--threads=-1"], ["threads"]),
        (["--data.target=Drak"], ["no domain 'Drak'"]),
        (["--augment.name=genmix", "--augment.options.genmix=[1]"], ["options.genmix", "mapping"]),
        (
            ["--augment.name=genmix", "--augment.options.genmix.num_fractals=0"],
            ["augment.options.genmix.num_fractals", "at least 1"],
        ),
        (["--train.batch_size=400"], ["train.batch_size", "400"]),
        (
            ["--model.bottleneck_dim=3"],
            ["adapt.method: lead needs", "3 for 3; say --model.bottleneck_dim 4, or another"],
        ),
    ],
)
def test_mistakes_in_training_get_one_line(capsys, flags, tmp_path, more, words):
    fails_with(capsys, ["train", *flags, *more], *words)
    assert not (tmp_path / "runs").exists()  # nothing half-written


@pytest.mark.parametrize(
    "given",
    [
        ["--config"],
        ["--config="],
        ["--config", "--train.steps=3"],
        ["--augment.options.mixup.alpha"],
    ],
)
def test_a_flag_without_its_value_is_named(capsys, given):
    refused(capsys, ["train", *given], f"{given[0].strip('=')}: expected a value")


@pytest.mark.parametrize("command", ["sweep", "report", "data splits"])
def test_commands_for_one_process_refuse_several(capsys, monkeypatch, flags, tmp_path, command):
    more = {"sweep": flags, "report": [str(tmp_path)], "data splits": ["emoji_home"]}[command]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    fails_with(capsys, [*command.split(), *more], f"uda {command} is for one process")
    assert not (tmp_path / "runs").exists()


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
def test_a_broken_configuration_file_is_named(capsys, tmp_path, content, words):
    path = tmp_path / "experiment.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    fails_with(capsys, ["train", str(path)], str(path), *words)
    fails_with(capsys, ["train", f"--config={path}"], str(path), *words)
    # Flags of a section do not take the place of what is wrong with it.
    more = ["--train.rate=1", "--augment.options.genmix.prompts=all", "--adapt.epochs=3"]
    fails_with(capsys, ["train", str(path), *more], str(path), *words)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("neighbours=0", ["adapt.options.lead.neighbours", "at least 1"]),
        ("cluster_every=0", ["adapt.options.lead.cluster_every"]),
        ("ce_weight=much", ["adapt.options.lead.ce_weight", "'much' is not a float"]),
        ("clusters=umap", ["adapt.options.lead.clusters", "tsne, features"]),
    ],
)
def test_wrong_options_of_lead_are_named(capsys, flags, option, words):
    assert main(["train", *flags]) == 0
    capsys.readouterr()
    more = ["--data.target=Dark", f"--adapt.options.lead.{option}"]
    fails_with(capsys, ["adapt", *flags, *more], *words)


@pytest.mark.parametrize(
    ("method", "rate", "epochs"), [("adabn", 0.001, 1), ("shot_o", 0.01, 15), ("glc", 0.001, 10)]
)
def test_a_method_laid_over_an_experiment(capsys, method, rate, epochs):
    """Options of the first file stand, with a flag among them, under a second file without any."""
    files = ["configs/experiments/emoji_home_opda.yaml", f"--config=configs/methods/{method}.yaml"]
    flags = ["--augment.options.genmix.fractal_weight", "0.3", "--print_config"]
    with pytest.raises(SystemExit):
        main(["adapt", *files, *flags])
    shown = yaml.safe_load(capsys.readouterr().out)
    adapt = shown["adapt"]
    assert (adapt["method"], adapt["rate"], adapt["epochs"]) == (method, rate, epochs)
    genmix = shown["augment"]["options"]["genmix"]
    assert genmix == {"prompts": "cross-domain", "edits_per_image": 6, "fractal_weight": 0.3}


def test_training_goes_on_where_screening_rejects_every_edit(capsys, flags, tmp_path, monkeypatch):
    def rejecting(originals, edits):
        return [Verdict("flat", {}) for _ in edits]

    monkeypatch.setattr("uda.augment.genmix.screen", rejecting)
    assert main(["train", *flags, "--augment.name=genmix"]) == 0
    assert "27 images stay as they are" in capsys.readouterr().out
    (run,) = find_runs(tmp_path / "runs")
    assert run.is_done
    assert not (run.folder / "genmix_stages.png").exists()


def test_numbers_of_options_are_read_as_in_files(tmp_path):
    def options(command, *given):
        """What the command would get, and not what it would print."""
        parser, _ = _parser()
        return parser.parse_args(_with_merged_options([command, *given]))[command]

    path = tmp_path / "c.yaml"
    path.write_text("augment: {options: {mixup: {alpha: 1e-1}}}")
    for given in (
        [f"--config={path}"],
        ["--augment.options.mixup.alpha", "1e-1"],
        ["--augment.options.mixup={alpha: 1e-1}"],
    ):
        assert options("train", *given).augment.options["mixup"] == {"alpha": 0.1}
    path.write_text("adapt: {options: {lead: {ce_weight: 1e-1}}}")
    given = [f"--config={path}", "--adapt.options.lead.neighbours=3"]
    assert options("adapt", *given).adapt.options["lead"] == {"ce_weight": 0.1, "neighbours": 3}


def test_options_as_flags(flags, tmp_path):
    assert main(["train", *flags]) == 0
    more = ["--adapt.options.lead.neighbours=2", "--adapt.options.lead.confident_weights=true"]
    assert main(["adapt", *flags, "--data.target=Dark", *more]) == 0
    (folder,) = (tmp_path / "runs").glob("lead-*")
    options = read_run(folder).config["adapt"]["options"]
    assert options["neighbours"] == 2
    assert options["confident_weights"] is True
    assert options["clusters"] == "features"


def test_divergence_is_said(capsys, flags, tmp_path):
    fails_with(capsys, ["train", *flags, "--train.rate=1e12"], "train.rate", "lower the rate")
    assert not list((tmp_path / "runs").glob("*/done"))


@pytest.mark.parametrize(
    ("error", "one_line"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), True),
        (MemoryError("CUDA out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_lack_of_memory_is_one_line_and_a_fault_of_ours_is_not(
    capsys, flags, monkeypatch, error, one_line
):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("uda.training.train.train", fails)
    if one_line:
        fails_with(capsys, ["train", *flags], "CUDA out of memory: too", "--train.accumulate")
    else:
        with pytest.raises(RuntimeError, match="mat1"):
            main(["train", *flags])


def test_a_dataset_with_other_classes_is_another_run(flags, dataset, tmp_path):
    assert main(["train", *flags]) == 0
    text = dataset.read_text()
    dataset.write_text(text.replace("- bar\n- cross\n", "- cross\n- bar\n"))
    assert dataset.read_text() != text
    assert main(["train", *flags]) == 0
    assert len(find_runs(tmp_path / "runs")) == 2


def test_settings_that_decide_nothing_make_no_other_run(capsys, flags):
    for first, second in (
        ([], ["--train.epochs=7"]),  # steps are counted
        (["--train.steps=0", "--train.epochs=1"], ["--train.budget=epochs"]),  # without copies
    ):
        assert main(["train", *flags, *first]) == 0
        capsys.readouterr()
        assert main(["train", *flags, *first, *second]) == 0
        assert "Already trained" in capsys.readouterr().out


def test_an_unfinished_or_broken_run_is_named(capsys, flags, tmp_path):
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    (run.folder / "done").unlink()
    capsys.readouterr()
    fails_with(capsys, ["evaluate", str(run.folder), "--target=Dark"], "not finished")
    for content in ("", "stage: [", "stage: train\n"):
        (run.folder / "config.yaml").write_text(content)
        fails_with(capsys, ["evaluate", str(run.folder)], str(run.folder / "config.yaml"))
        fails_with(capsys, ["report", str(tmp_path / "runs")], str(run.folder / "config.yaml"))


def test_as_many_dimensions_as_classes_are_too_few_for_lead_alone(capsys, flags):
    own = [*flags, "--model.bottleneck_dim=3", "--data.target=Dark", "--train.steps=1"]
    assert main(["train", *own, "--adapt.method=glc"]) == 0
    capsys.readouterr()
    fails_with(capsys, ["adapt", *own], "adapt.method: lead needs", "--model.bottleneck_dim 4")


def test_one_source_class(flags, dataset):
    spec = yaml.safe_load(dataset.read_text())
    spec["scenarios"]["osda"] = {"shared": [0, 1], "target_private": [1, 5]}
    dataset.write_text(yaml.safe_dump(spec, sort_keys=False))
    own = [*flags, "--data.scenario=osda", "--data.target=Dark"]
    assert main(["train", *own, "--train.batch_size=4"]) == 0
    assert main(["adapt", *own, "--train.batch_size=4"]) == 0


def test_a_broken_picture_is_named(capsys, flags, dataset):
    broken = dataset.parent / "pictures" / "Plain" / "bar" / "00.png"
    broken.write_bytes(broken.read_bytes()[:60])
    fails_with(capsys, ["train", *flags], str(broken), "remove or replace it")


def test_a_missing_class_is_named(capsys, flags, dataset):
    for path in (dataset.parent / "pictures" / "Plain" / "disc").iterdir():
        path.unlink()
    fails_with(capsys, ["train", *flags], "no picture of 'disc'")


def test_adapt_wants_a_target_and_a_trained_source(capsys, flags):
    fails_with(capsys, ["adapt", *flags], "data.target")
    fails_with(capsys, ["adapt", *flags, "--data.target=Dark"], "run `uda train`")


def test_a_checkpoint_of_another_class_count_is_named(capsys, flags, tmp_path):
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    path = run.folder / "checkpoint.pt"
    capsys.readouterr()
    more = ["--data.target=Dark", "--data.scenario=pda", f"--adapt.checkpoint={path}"]
    fails_with(capsys, ["adapt", *flags, *more], str(path), "a model of 3 classes", "has 5")
    path.write_bytes(b"nothing")
    fails_with(capsys, ["adapt", *flags, "--data.target=Dark"], str(path))


@pytest.mark.parametrize(
    ("source", "words"),
    [("", "data.source: name the domain"), ("Plane", "no domain 'Plane'; it has Plain, Dark")],
)
def test_a_checkpoint_wants_a_source_domain(capsys, flags, tmp_path, source, words):
    path = tmp_path / "s.pt"
    path.write_bytes(b"a model")
    more = [f"--data.source={source}", "--data.target=Dark", f"--adapt.checkpoint={path}"]
    fails_with(capsys, ["adapt", *flags, *more], words)


def test_evaluate_and_report_name_what_is_missing(capsys, tmp_path):
    fails_with(capsys, ["evaluate", str(tmp_path)], "not a run's folder")
    fails_with(capsys, ["report", str(tmp_path / "none")], "no such folder of runs")


def test_evaluate_finds_the_pictures_that_the_run_was_given(capsys, dataset, flags, tmp_path):
    pictures, moved = dataset.parent / "pictures", tmp_path / "elsewhere"
    pictures.rename(moved)
    more = [f"--data.root={moved}", "--data.target=Dark", "--adapt.method=source_only"]
    assert main(["train", *flags, *more]) == 0
    assert main(["adapt", *flags, *more]) == 0
    (folder,) = (tmp_path / "runs").glob("source_only-*")
    assert main(["evaluate", str(folder)]) == 0
    moved.rename(pictures)  # back in the dataset's own place
    assert main(["evaluate", str(folder)]) == 0
    pictures.rename(tmp_path / "third")
    capsys.readouterr()
    fails_with(capsys, ["evaluate", str(folder)], f"{pictures / 'Dark'}: no such folder", "--root")
    assert main(["evaluate", str(folder), f"--root={tmp_path / 'third'}"]) == 0


@pytest.mark.parametrize(
    ("command", "more"),
    [("evaluate", []), ("predict", ["--out=a.csv"]), ("export", ["--out=model.onnx"])],
)
def test_a_glob_that_matches_several_runs(capsys, tmp_path, monkeypatch, command, more):
    monkeypatch.chdir(tmp_path)
    runs = [open_run(tmp_path, "lead-s0", {"rate": rate}) for rate in (1, 2)]
    for run in runs:
        run.start()
    first, second = (str(run.folder) for run in runs)
    words = ["several runs given: name one", first, second]
    fails_with(capsys, [command, first, second, *more], *words)
    fails_with(capsys, [command, first, f"{second}/checkpoint.pt", *more], *words)
    if command != "predict":
        fails_with(capsys, [command, first, "Dark", *more], "'Dark': one run is named here")
    assert sorted(tmp_path.iterdir()) == sorted(run.folder for run in runs)


def test_splits_of_a_dataset_without_scenarios(capsys):
    assert main(["data", "splits", "cifar-100"]) == 0
    shown = capsys.readouterr().out
    assert shown == "CIFAR-100 has no scenarios: it is for training in one domain\n"


def test_export_lists(capsys, dataset, tmp_path):
    command = ["data", "export-lists", str(dataset)]
    pictures = dataset.parent / "pictures"
    (pictures / "Dark").rename(tmp_path / "Dark")
    assert main([*command, "--scenario=osda"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"passed over Dark: {pictures / 'Dark'} is not there",
        f"wrote {pictures / 'Plain' / 'image_unida_list.txt'}: 45 images of 5 classes",
    ]
    assert main([*command, "--root", str(tmp_path)]) == 0
    lines = (tmp_path / "Dark" / "image_unida_list.txt").read_text().splitlines()
    assert lines[0] == "bar/00.png 0"
    assert lines[-1] == "square/08.png 4"
    capsys.readouterr()


def test_export_lists_names_what_is_wrong(capsys, dataset, tmp_path):
    command = ["data", "export-lists", str(dataset)]
    fails_with(capsys, [*command, "--root", str(tmp_path / "no")], "no domain of Tiny to list")
    fails_with(capsys, [*command, "--scenario=xda"], "no 'xda'; it has opda, osda, pda")
    fails_with(capsys, [*command[:2], "nothing"], "known datasets: cifar_100")
    refused(capsys, [*command, "--rot=x"], "--rot")
    place = dataset.parent / "pictures" / "Plain" / "bar"
    (place / "00.png").rename(place / "0 0.png")
    fails_with(capsys, command, str(place / "0 0.png"), "(1 such", "--replace-spaces")


@pytest.mark.slow
def test_import_lead(capsys, flags, tmp_path):
    """A released source model of three classes becomes the start of an adaptation."""
    from helpers.released import head, network

    state = {f"backbone_layer.{k}": v for k, v in network("resnet18").state_dict().items()}
    state |= head(512, num_classes=3)
    theirs, ours = tmp_path / "theirs.pth", tmp_path / "our model.pt"
    torch.save({"epoch": 1, "model_state_dict": state}, theirs)
    assert main(["import-lead", str(theirs), "--out", str(ours)]) == 0
    wrote, _, adapt = capsys.readouterr().out.splitlines()
    assert wrote == f"wrote {ours}: resnet18, 3 classes, bottleneck of 12"
    given = shlex.split(adapt)[3:]
    assert given == [
        *("--model.backbone", "resnet18"),
        *("--model.head", "bottleneck_wn", "--model.bottleneck_dim", "12"),
        *("--adapt.checkpoint", str(ours)),
    ]
    assert main(["adapt", *flags, "--data.target=Dark", *given]) == 0
    (run,) = find_runs(tmp_path / "runs")
    assert run.metrics("evaluate")[-1]["epoch"] == 2
    weight = run.load_checkpoint()["model"]["classifier.parametrizations.weight.original1"]
    assert torch.equal(weight, state["class_layer.fc.weight_v"])  # LEAD keeps the classifier
    capsys.readouterr()
    more = ["--data.target=Dark", "--data.scenario=pda", *given]
    fails_with(capsys, ["adapt", *flags, *more], str(ours), "a model of 3 classes", "has 5")


def test_import_lead_names_what_is_wrong(capsys, tmp_path):
    out = ["--out", str(tmp_path / "ours.pt")]
    fails_with(
        capsys, ["import-lead", str(tmp_path / "no.pth"), *out], "no.pth: no such checkpoint"
    )
    refused(capsys, ["import-lead", "theirs.pth"], "out")
    torch.save({"model": {}}, tmp_path / "theirs.pth")
    given = ["import-lead", str(tmp_path / "theirs.pth"), *out]
    fails_with(capsys, given, "theirs.pth", "no key 'model_state_dict'")
    assert not (tmp_path / "ours.pt").exists()


def test_configuration_file_and_overrides(flags, tmp_path):
    path = tmp_path / "experiment.yaml"
    values: dict = {}
    for flag in flags:
        keys, value = flag[2:].split("=", 1)
        *sections, key = keys.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = yaml.safe_load(value)
    path.write_text(yaml.safe_dump(values))
    assert main(["train", str(path), "--train.steps=3"]) == 0
    (run,) = find_runs(tmp_path / "runs")
    assert run.config["train"]["steps"] == 3
    assert run.config["model"]["bottleneck_dim"] == 16


@pytest.mark.parametrize("method", ["lead", "shot_o", "glc"])
def test_labels_of_the_target_reach_no_weight_and_no_choice(flags, dataset, tmp_path, method):
    """The same pictures in other class folders give the same adapted weights, the same epoch and
    threshold by every criterion but the oracle, and other scores."""

    def adapted():
        more = ["--data.target=Dark", f"--adapt.method={method}", "--adapt.epochs=3"]
        assert main(["adapt", *flags, *more]) == 0
        (folder,) = (tmp_path / "runs").glob(f"{method}-*")
        run = read_run(folder)
        chosen = {**epoch_choices(run), **threshold_choices(run)}
        choices = {name: at for name, (at, _) in chosen.items() if name != "oracle"}
        result = run.load_checkpoint()["model"], choices, run.metrics("evaluate")[-1]["auroc"]
        shutil.rmtree(folder)
        return result

    assert main(["train", *flags]) == 0
    weights, choices, score = adapted()
    assert choices.keys() == {*EPOCHS, *CUTS} - {"oracle"}
    dark = dataset.parent / "pictures" / "Dark"
    names = ["bar", "cross", "ring", "square"]  # the classes that the target holds
    pictures = [(dark / name / f"{i:02d}.png").read_bytes() for name in names for i in range(9)]
    places = np.random.default_rng(0).permutation(
        [f"{n}/{i:02d}.png" for n in names for i in range(9)]
    )
    for place, content in zip(places, pictures, strict=True):
        (dark / place).write_bytes(content)
    again, other_choices, other_score = adapted()
    assert other_score != score
    assert other_choices == choices
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name


def test_a_finished_run_is_not_done_again(capsys, flags):
    assert main(["train", *flags]) == 0
    capsys.readouterr()
    assert main(["train", *flags]) == 0
    assert "Already trained" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["P", "RGBA", "L", "I;16", "CMYK"])
def test_image_modes_are_converted(flags, dataset, mode):
    path = dataset.parent / "pictures" / "Plain" / "bar" / "00.png"
    image = Image.open(path).convert("L" if mode == "I;16" else mode)
    path.unlink()
    image.save(path.with_suffix(".jpg" if mode == "CMYK" else ".png"))
    assert main(["train", *flags, "--train.steps=1"]) == 0


@pytest.mark.slow
def test_the_installed_command():
    done = subprocess.run(
        [sys.executable, "-m", "uda.cli", "train", "--train.epoch=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert "--train.epoch" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_is_worked_on_is_left_alone(capsys, flags, tmp_path):
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    (run.folder / "done").unlink()
    before = (run.folder / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    with run.lock():
        fails_with(capsys, ["train", *flags], str(run.folder), str(os.getpid()), "at work")
    assert (run.folder / "metrics.jsonl").read_bytes() == before
    assert main(["train", *flags]) == 0
    assert run.is_done
