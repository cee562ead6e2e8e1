import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from helpers.training import CPU
from torch import nn

from uda.compute import devices as compute
from uda.compute.cpu import OverwritingReLU6, keep_freed_memory, overwrite_in_relu6
from uda.compute.devices import device_of_rank
from uda.compute.prefetch import prefetch
from uda.compute.seeding import seed_network, seed_of
from uda.config import ComputeConfig
from uda.data.views import to_float
from uda.models.classifier import build_model


def fresh_model():
    return build_model("efficientnet_lite0", "none", "bottleneck_wn", 16, 3, seed=0)


def prepare(model, **settings):
    """Prepare the network for the CPU by these settings, as every loop does."""
    compute.move_to_device(model, CPU, ComputeConfig(**settings))


def images(count=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def step(model, x, settings):
    """Return the features and all gradients of a training step."""
    features, logits = compute.forward(model.train(), x, settings)
    (features.pow(2).mean() + logits.logsumexp(1).mean()).backward()
    return features, [p.grad for p in model.parameters()]


def test_overwriting_relu6_changes_no_bit():
    plain, prepared = fresh_model(), fresh_model()
    overwrite_in_relu6(prepared)
    kinds = [type(module) for module in prepared.modules()]
    assert OverwritingReLU6 in kinds
    assert nn.ReLU6 not in kinds
    assert plain.state_dict().keys() == prepared.state_dict().keys()
    x = to_float(images(), CPU)
    features, gradients = step(plain, x, ComputeConfig())
    features_prepared, gradients_prepared = step(prepared, x, ComputeConfig())
    assert torch.equal(features, features_prepared)
    assert all(torch.equal(a, b) for a, b in zip(gradients, gradients_prepared, strict=True))
    with torch.no_grad():
        assert torch.equal(plain.eval()(x)[1], prepared.eval()(x)[1])


def test_overwriting_relu6_at_its_edges():
    x = torch.tensor([-1.0, 0.0, 1e-9, 3.0, 6.0, 7.0], requires_grad=True)
    theirs, ours = nn.ReLU6()(x), OverwritingReLU6()(x * 1)
    assert torch.equal(theirs, ours)
    (expected,) = torch.autograd.grad(theirs.sum(), x)
    assert torch.equal(torch.autograd.grad(ours.sum(), x)[0], expected)


def test_only_in_place_relu6_is_overwriting():
    model = nn.Sequential(nn.ReLU6(), nn.ReLU6(inplace=True), nn.ReLU(inplace=True))
    prepare(model)
    assert [type(m) for m in model] == [nn.ReLU6, OverwritingReLU6, nn.ReLU]


@pytest.mark.parametrize("channels_last", [True, False])
def test_layout_changes_nothing_but_noise(channels_last):
    plain, model = fresh_model(), fresh_model()
    prepare(model, channels_last=channels_last)
    weight = model.backbone.conv_stem.weight
    x = to_float(images(), CPU, channels_last)
    for tensor in (weight, x):
        assert tensor.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert tensor.is_contiguous() != channels_last
    with torch.no_grad():
        expected = plain.eval()(to_float(images(), CPU))[0]
        torch.testing.assert_close(model.eval()(x)[0], expected, atol=1e-4, rtol=1e-3)


def test_bfloat16_is_of_the_network_and_its_results_are_float32():
    settings, seen = ComputeConfig(precision="bfloat16"), []
    model = fresh_model()
    prepare(model, precision="bfloat16")
    model.backbone.conv_stem.register_forward_hook(lambda m, x, y: seen.append(y.dtype))
    x = to_float(images(), CPU)
    with torch.no_grad():
        exact = compute.forward(model.eval(), x)
        rounded = compute.forward(model, x, settings)
    assert seen == [torch.float32, torch.bfloat16]
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, atol=0.1, rtol=0.1)
    _, gradients = step(model, x, settings)
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)


def test_float16_needs_a_gpu_and_no_other_precision_scales_the_loss():
    with pytest.raises(ValueError, match="compute.precision: float16 needs a GPU; use bfloat16"):
        prepare(fresh_model(), precision="float16")
    scaler = compute.gradient_scaler(CPU, ComputeConfig(precision="bfloat16"))
    assert not scaler.is_enabled()
    loss = torch.tensor(2.0)
    assert scaler.scale(loss) is loss
    assert scaler.state_dict() == {}


def test_a_network_draws_by_seed_step_and_rank(monkeypatch):
    def drawn(*parts):
        seed_network(CPU, *parts)
        return torch.rand(3).tolist()

    first = drawn(0, 4, 7)
    assert drawn(0, 4, 7) == first
    monkeypatch.setattr("uda.compute.seeding.rank", lambda: 1)  # the second of two ranks
    others = [drawn(0, 4, 7), drawn(0, 4, 8), drawn(1, 4, 7)]
    assert len({tuple(draws) for draws in (first, *others)}) == 4


def test_a_seed_of_the_gpu_does_not_change_the_cpus_draws(monkeypatch):
    seeds = []
    gpu = SimpleNamespace(manual_seed_all=seeds.append, manual_seed=None)
    monkeypatch.setattr(torch, "get_device_module", lambda device: gpu)
    before = torch.get_rng_state()
    seed_network(torch.device("cuda", 1), 0, 4, 7)
    assert seeds == [seed_of(0, 4, 7, 0)]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("apart", [False, True])
def test_the_next_item_is_made_ahead(apart):
    started, threads = [], set()

    def make(number):
        started.append(number)
        threads.add(threading.current_thread())
        if number == 3:
            raise ValueError("three")
        return number * number

    made = prefetch(make, iter(range(9)), apart)
    assert not started
    assert [next(made), next(made)] == [0, 1]
    assert max(started) == 1 or apart
    assert next(made) == 4
    with pytest.raises(ValueError, match="three"):
        next(made)
    assert max(started) <= (4 if apart else 3)  # a single item ahead
    assert threads.isdisjoint({threading.current_thread()}) == apart
    assert list(prefetch(make, [], apart)) == []
    assert list(prefetch(make, [5], apart)) == [25]


def test_the_next_item_is_made_while_the_caller_works():
    begun = threading.Event()

    def make(number):
        if number == 1:
            begun.set()
        return number

    made = prefetch(make, [0, 1, 2], apart=True)
    assert next(made) == 0
    assert begun.wait(10)
    assert list(made) == [1, 2]


def test_memory_is_pinned_for_gpus_only():
    batch = torch.zeros(2, 3)
    assert compute.pinned(batch, CPU) is batch


def test_the_network_is_compiled_where_asked(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    model = fresh_model()
    prepare(model)
    assert not compiled
    prepare(model, compile=True)
    assert compiled == [model]


def test_freed_memory_is_kept_on_linux_only(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("uda.compute.cpu.ctypes.CDLL", None)  # would raise if it were called
    keep_freed_memory()


@pytest.mark.parametrize("name", ["mps:7", "xla", "meta", "hpu", "gpu", ""])
def test_a_device_that_is_not_there_is_a_line_with_those_that_are(name):
    with pytest.raises(ValueError, match=f"^device: '{name}' cannot be used here; .* cpu") as error:
        device_of_rank(name)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)
