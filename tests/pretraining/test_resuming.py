"""`uda pretrain`, interrupted and gone on with, and what decides its weights."""

import multiprocessing
import os
import signal

import pytest
import torch
from helpers.tiny import arguments, make_dataset
from helpers.training import Killed, changed

from uda.cli.main import main
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import Run, find_runs

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["timm", "uda.augment", "uda.cli", "uda.pretraining.pretrain", "uda.stages.pretrain"]
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("tiny") / "tiny")


def flags_of(dataset, folder, *more):
    return arguments(dataset, folder / "runs", "--data.scenario=", *more)


def outcome(folder):
    """Return the checkpoint and the bytes of the backbone's file."""
    (run,) = find_runs(folder / "runs")
    assert run.is_done
    checkpoint = read_checkpoint(run.checkpoint)
    return checkpoint, run.backbone.read_bytes()


METHODS = {
    "moco_v2": ["--pretrain.method=moco_v2", "--augment.name=genmix", "--train.steps=10"],
    "simsiam": ["--pretrain.method=simsiam", "--pretrain.options.simsiam.dim=16"],
}


@pytest.fixture(scope="module", params=METHODS)
def undisturbed(request, dataset, tmp_path_factory):
    """The flags of a method, and the outcome of its run."""
    folder = tmp_path_factory.mktemp(request.param)
    more = METHODS[request.param]
    assert main(["pretrain", *flags_of(dataset, folder, *more)]) == 0
    return more, outcome(folder)


def check_same(folder, expected):
    checkpoint, weights = outcome(folder)
    assert weights == expected[1]
    for part in ("model", "method"):
        assert not changed(checkpoint[part], expected[0][part])


def die_at(monkeypatch, owner, name, call):
    """Let ``owner.name`` raise `Killed` after its ``call``-th call."""
    original, calls = getattr(owner, name), [0]

    def counted(*args, **options):
        original(*args, **options)
        calls[0] += 1
        if calls[0] == call:
            raise Killed

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(Run, "save_checkpoint", 1), (torch.optim.SGD, "step", 2), (Run, "save_backbone", 1)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    undisturbed, dataset, tmp_path, monkeypatch, owner, name, call
):
    more, expected = undisturbed
    flags = flags_of(dataset, tmp_path, *more)
    with monkeypatch.context() as patch:
        die_at(patch, owner, name, call)
        with pytest.raises(Killed):
            main(["pretrain", *flags])
    torch.manual_seed(123)  # what the process has drawn before decides nothing
    assert main(["pretrain", *flags]) == 0
    check_same(tmp_path, expected)


def pretrain_and_die(flags):
    """Pretrain in a process that is killed amid writing the second checkpoint."""
    save, calls = torch.save, [0]

    def dying(state, file):
        calls[0] += 1
        if calls[0] == 2:
            file.write(b"PK half a file")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, file)

    torch.save = dying
    main(["pretrain", *flags])


@pytest.mark.slow
def test_a_killed_process_loses_nothing_but_its_epoch(dataset, tmp_path):
    more = METHODS["simsiam"]
    assert main(["pretrain", *flags_of(dataset, tmp_path / "whole", *more)]) == 0
    flags = flags_of(dataset, tmp_path / "killed", *more)
    process = PROCESSES.Process(target=pretrain_and_die, args=(flags,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert main(["pretrain", *flags]) == 0
    check_same(tmp_path / "killed", outcome(tmp_path / "whole"))
    files = [
        sorted(path.name for path in run.folder.iterdir())
        for name in ("whole", "killed")
        for run in find_runs(tmp_path / name / "runs")
    ]
    assert files[0] == files[1]


def test_the_predictors_rate_stays(dataset, tmp_path, monkeypatch):
    rates, step = [], torch.optim.SGD.step

    def spy(optimizer, *args, **options):
        rates.append([group["lr"] for group in optimizer.param_groups])
        return step(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    more = [*METHODS["simsiam"], "--train.schedule=cosine", "--train.rate=0.02"]
    assert main(["pretrain", *flags_of(dataset, tmp_path, *more)]) == 0
    backbone, projector, predictor = zip(*rates, strict=True)
    assert backbone == projector, "one rate, whatever train.backbone_factor says"
    assert backbone[0] == 0.02 > backbone[-1] > 0
    assert set(predictor) == {0.02}


def test_labels_decide_no_weight(tmp_path):
    """The same pictures in folders of other classes, in the same order."""
    weights = []
    for name, rename in (("as_is", False), ("renamed", True)):
        copy = make_dataset(tmp_path / name)
        if rename:  # the first two classes' names are exchanged, and so is their order in the file
            plain = copy.parent / "pictures" / "Plain"
            (plain / "bar").rename(plain / "x")
            (plain / "cross").rename(plain / "bar")
            (plain / "x").rename(plain / "cross")
            text = copy.read_text(encoding="utf-8")
            text = text.replace("- bar\n- cross\n", "- cross\n- bar\n")
            copy.write_text(text, encoding="utf-8")
        assert main(["pretrain", *flags_of(copy, tmp_path / name, *METHODS["simsiam"])]) == 0
        weights.append(outcome(tmp_path / name)[1])
    assert weights[0] == weights[1]
