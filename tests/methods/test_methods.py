"""What is true of every adaptation method, on a bank and in a whole run."""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from helpers.banks import batch_of, method_for, random_bank
from helpers.tiny import arguments, make_dataset
from helpers.training import changed, tiny_model
from torch import Tensor

from uda.cli.main import main
from uda.config import CONFIGS
from uda.methods import METHODS
from uda.methods.base import Bank
from uda.methods.joint import JointMethod
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import read_run

JOINT = [name for name, method in METHODS.items() if issubclass(method, JointMethod)]
TRAINED = [name for name, method in METHODS.items() if method.trains == "weights"]
FAST = {
    "lead": {"clusters": "features"},
    "glc": {"clusters": "features"},
    "rrda": {"steps": 20},
}


def method_of(name, bank, open_set=True):
    return method_for(bank, name, open_set, **FAST.get(name, {}))


def tensors(value):
    """Return all tensors in a state by name."""
    if isinstance(value, Tensor):
        return {"": value}
    if not is_dataclass(value):
        return {}
    parts = {field.name: tensors(getattr(value, field.name)) for field in fields(value)}
    return {f"{name}.{key}": leaf for name, part in parts.items() for key, leaf in part.items()}


@pytest.mark.parametrize("name", METHODS)
def test_name_and_title_are_unique(name):
    method = METHODS[name]
    assert method.name == name
    assert [other.title for other in METHODS.values()].count(method.title) == 1


@pytest.mark.parametrize("name", METHODS)
def test_other_processes_get_the_same_state_without_the_bank(name):
    sent = []

    def first(make):
        sent.append(make())
        return sent[-1]

    def second(make):
        return sent.pop(0)

    bank = random_bank()
    theirs = tensors(method_of(name, bank).refresh(bank, 0, first))
    shapes = [value.shape for message in sent for value in tensors(message).values()]
    assert bank.features.shape not in shapes
    ours = tensors(method_of(name, bank).refresh(bank, 0, second))
    assert not sent
    assert not changed(ours, theirs)
    assert not changed(ours, tensors(method_of(name, bank).refresh(bank, 0)))


@pytest.mark.parametrize("name", METHODS)
def test_a_refresh_after_a_restart_gives_the_same_state(name):
    bank = random_bank(seed=1)
    method, again = method_of(name, bank), method_of(name, bank)
    method.refresh(random_bank(), 0)
    again.load_state_dict(method.state_dict())
    again.classifier.load_state_dict(method.classifier.state_dict())  # as the network's weights
    assert not changed(tensors(method.refresh(bank, 1)), tensors(again.refresh(bank, 1)))


@pytest.mark.parametrize("name", TRAINED)
def test_losses_reach_the_features_and_leave_the_bank(name):
    bank = random_bank(spread=0.1, scale=2)
    method = method_of(name, bank)
    batch = batch_of(bank, torch.arange(12))
    state = method.refresh(bank, 0)
    if name in JOINT:
        targets = torch.eye(bank.probabilities.shape[1])[torch.zeros(12, dtype=torch.long)]
        losses = method.joint_loss(replace(batch, targets=targets), batch, state)
    else:
        losses = method.loss(batch, state)
    torch.stack(list(losses.values())).sum().backward()
    assert batch.features.grad.isfinite().all()
    assert batch.features.grad.any()
    assert not changed(vars(bank), vars(random_bank(spread=0.1, scale=2)))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("num_classes", [1, 4])
def test_a_handful_of_samples_and_a_single_class_work(name, count, num_classes):
    bank = random_bank(count=count, num_classes=num_classes)
    method = method_of(name, bank)
    summary = method.summary(method.refresh(bank, 0))
    assert not any(value.isnan().any() for value in summary.values())
    assert method.predict(bank).label.shape == (count,)


@pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].own_score])
def test_unsure_samples_are_unknown_but_not_under_pda(name):
    probabilities = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.25, 0.26, 0.25, 0.24]])
    bank = Bank(torch.zeros(2, 5), probabilities, torch.zeros(4, 5))
    prediction = method_of(name, bank).predict(bank)
    assert prediction.label.tolist() == [0, 4]
    assert prediction.unknown_score[1] > prediction.unknown_score[0]
    assert method_of(name, bank, open_set=False).predict(bank).label.tolist() == [0, 1]


# ---- whole runs


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("tiny"), per_class=6)


@pytest.fixture
def adapt(dataset, tmp_path):
    """Run `uda adapt` from an untrained model; return its exit code and the run."""

    def command(name, runs, scenario="opda"):
        num_classes = 5 if scenario == "pda" else 3
        model = tiny_model(num_classes)
        source = tmp_path / "source.pt"
        torch.save({"model": model.state_dict()}, source)
        flags = arguments(dataset, tmp_path / runs, "--data.target=Dark")
        config = CONFIGS / "methods" / f"{name}.yaml"
        flags += [f"--config={config}"] if config.is_file() else []
        fast = FAST.get(name, {}).items()
        flags += [f"--adapt.options.{name}.{key}={value}" for key, value in fast]
        flags += [f"--data.scenario={scenario}", f"--adapt.method={name}", "--adapt.epochs=2"]
        code = main(["adapt", *flags, f"--adapt.checkpoint={source}"])
        return code, read_run(next((tmp_path / runs).glob(f"{name}-*")))

    return command


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scenario", ["osda", "pda"])
def test_every_scenario_runs(adapt, name, scenario):
    code, run = adapt(name, "runs", scenario)
    assert code == 0
    assert run.is_done
    score = "accuracy" if scenario == "pda" else "h_score"
    epochs = [0] if METHODS[name].trains == "nothing" else [0, 1, 2]
    assert [line["epoch"] for line in run.metrics("evaluate") if score in line] == epochs


@pytest.mark.parametrize("name", TRAINED)
def test_a_killed_run_goes_on_to_the_same_weights(adapt, name, tmp_path, monkeypatch):
    code, whole = adapt(name, "whole")
    assert code == 0
    refresh = METHODS[name].refresh

    def stopped(self, bank, epoch, *more):
        if epoch == 1:
            raise KeyboardInterrupt
        return refresh(self, bank, epoch, *more)

    with monkeypatch.context() as patch:
        patch.setattr(METHODS[name], "refresh", stopped)
        assert adapt(name, "killed")[0] == 130
    code, killed = adapt(name, "killed")
    assert code == 0
    assert [line["epoch"] for line in killed.metrics("adapt")] == [1, 2]
    assert any(key.startswith("loss_") for key in killed.metrics("adapt")[0])
    weights = read_checkpoint(whole.checkpoint)["model"]
    assert not changed(weights, read_checkpoint(killed.checkpoint)["model"])
    first = "backbone.conv_stem.weight"
    source = read_checkpoint(tmp_path / "source.pt")["model"]
    assert not torch.equal(weights[first], source[first])
