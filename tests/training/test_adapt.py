import numpy as np
import pytest
import torch
from helpers.tiny import make_dataset
from helpers.training import CPU, SIZES, Killed, changed, tiny_model, unlabelled
from torch import nn

from uda.config import AdaptConfig, ComputeConfig, ImageConfig
from uda.data.views import to_float
from uda.methods.adabn import AdaBN
from uda.methods.base import Bank
from uda.methods.lead import Lead
from uda.methods.source_only import SourceOnly
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import open_run
from uda.training import adapt, state, target_batches
from uda.training.bank import forward_all, read_bank, read_probabilities, save_bank
from uda.training.state import Loop

SETTINGS = AdaptConfig(epochs=3, batch_size=8)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return unlabelled(make_dataset(tmp_path_factory.mktemp("tiny"), per_class=4))


def fresh_model():
    return tiny_model(3)


def kill(epoch, bank):
    if epoch == 2:
        raise Killed
    return ""


def run_adaptation(target, run, method=None, after_epoch=None, settings=SETTINGS, dropout=0.0):
    model = fresh_model()
    if dropout:
        model.bottleneck.append(nn.Dropout(dropout))
    method = method or Lead(open_set=True, clusters="features")
    adapt.adapt(model, target, method, settings, run, Loop(SIZES, 0, CPU), after_epoch)
    return model


def test_the_bank_is_the_clean_view_in_eval_mode(target):
    model = fresh_model()
    bank = forward_all(model, target.images, 28, CPU)
    x = to_float(target.images[3:4, :, 2:30, 2:30], CPU)
    with torch.no_grad():
        features, logits = model.eval()(x)
    torch.testing.assert_close(bank.features[3], features[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(bank.probabilities[3], logits[0].softmax(0), atol=1e-5, rtol=1e-4)
    assert torch.equal(bank.class_weights, model.classifier.weight)


def test_everything_but_the_classifier_is_trained(target, tmp_path):
    before = fresh_model().state_dict()
    after = run_adaptation(target, open_run(tmp_path, "r", {})).state_dict()
    moved = changed(before, after)
    assert not {name for name in moved if name.startswith("classifier")}
    assert any(name.startswith("bottleneck") for name in moved)
    assert any(name.endswith("running_mean") for name in moved)
    assert any(name.startswith("backbone") and name.endswith("weight") for name in moved)


def test_the_sources_batchnorm_statistics_can_be_kept(target, tmp_path):
    settings = AdaptConfig(epochs=1, batch_size=8, batch_norm="source")
    before = fresh_model().state_dict()
    after = run_adaptation(target, open_run(tmp_path, "r", {}), settings=settings).state_dict()
    moved = changed(before, after)
    assert any(name.startswith("backbone") and name.endswith("weight") for name in moved)
    assert not any("running" in name or "tracked" in name for name in moved)


def test_every_epoch_is_reported_once_from_zero(target, tmp_path):
    run, epochs = open_run(tmp_path, "r", {}), []
    run_adaptation(target, run, after_epoch=lambda epoch, bank: epochs.append(epoch) or "")
    assert epochs == [0, 1, 2, 3]
    lines = run.metrics("adapt")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"loss_ce", "loss_reg", "loss_con"} <= lines[0].keys()
    summary = np.load(run.folder / "summary.npz")
    assert summary["unknown_norm"].shape == (20,)


def test_every_epochs_bank_is_kept(target, tmp_path):
    banks = []
    run = open_run(tmp_path, "r", {})
    run_adaptation(target, run, after_epoch=lambda epoch, bank: banks.append(bank) or "")
    for epoch, bank in enumerate(banks):
        kept = read_bank(run, epoch)
        torch.testing.assert_close(kept.features, bank.features, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(kept.probabilities, bank.probabilities, rtol=1e-3, atol=1e-6)
        assert torch.equal(kept.class_weights, bank.class_weights)
        assert torch.equal(read_probabilities(run, epoch), kept.probabilities)
    with pytest.raises(ValueError, match="epoch_04.npz: not kept"):
        read_bank(run, 4)


def test_probabilities_are_read_without_the_features(tmp_path):
    run = open_run(tmp_path, "r", {})
    (run.folder / "banks").mkdir(parents=True)
    np.savez(run.folder / "banks" / "epoch_01.npz", probabilities=np.full((2, 3), 0.5, np.float16))
    assert torch.equal(read_probabilities(run, 1), torch.full((2, 3), 0.5))


def test_banks_are_kept_only_where_wanted(target, tmp_path):
    run = open_run(tmp_path, "r", {})
    settings = AdaptConfig(epochs=1, batch_size=8, keep_banks=False)
    run_adaptation(target, run, settings=settings)
    assert not (run.folder / "banks").exists()


def test_a_killed_run_goes_on_to_the_same_weights(target, tmp_path):
    whole = run_adaptation(target, open_run(tmp_path, "a", {"x": 1}))
    broken = open_run(tmp_path, "b", {"x": 2})
    with pytest.raises(Killed):
        run_adaptation(target, broken, after_epoch=kill)
    again = run_adaptation(target, broken)
    assert not changed(whole.state_dict(), again.state_dict())


def test_batches_made_ahead_give_the_same_weights(target, tmp_path, make_batches_ahead):
    whole = run_adaptation(target, open_run(tmp_path, "a", {"x": 1}))
    make_batches_ahead(target_batches)
    again = run_adaptation(target, open_run(tmp_path, "b", {"x": 2}))
    assert not changed(whole.state_dict(), again.state_dict())


def test_dropout_depends_on_seed_and_step_alone(target, tmp_path):
    """Not on earlier draws of the process, nor on where a run was stopped."""
    whole = run_adaptation(target, open_run(tmp_path, "a", {"x": 1}), dropout=0.5)
    torch.rand(7)
    broken = open_run(tmp_path, "b", {"x": 2})
    with pytest.raises(Killed):
        run_adaptation(target, broken, after_epoch=kill, dropout=0.5)
    torch.rand(7)
    again = run_adaptation(target, broken, dropout=0.5)
    assert not changed(whole.state_dict(), again.state_dict())


def test_source_only_leaves_the_model_as_it_is(target, tmp_path):
    epochs = []
    model = run_adaptation(
        target,
        open_run(tmp_path, "r", {}),
        SourceOnly(open_set=True),
        lambda epoch, bank: epochs.append(epoch) or "",
    )
    assert not changed(fresh_model().state_dict(), model.state_dict())
    assert epochs == [0]


def test_adabn_changes_only_the_statistics(target, tmp_path):
    run = open_run(tmp_path, "r", {})
    model = run_adaptation(target, run, AdaBN(open_set=True))
    before, after = fresh_model().state_dict(), model.state_dict()
    moved = changed(before, after)
    assert {name.rsplit(".", 1)[1] for name in moved} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert len(run.metrics("adapt")) == 3


def test_adabn_with_no_statistics_to_move_is_refused(target, tmp_path):
    settings = AdaptConfig(method="adabn", epochs=1, batch_size=8, batch_norm="source")
    with pytest.raises(ValueError, match="adabn moves BatchNorm's statistics and nothing else"):
        run_adaptation(target, open_run(tmp_path, "r", {}), AdaBN(open_set=True), settings=settings)


@pytest.mark.parametrize(("method", "expected"), [(AdaBN, False), (Lead, True)])
def test_gradients_are_kept_only_where_there_is_a_loss(
    target, tmp_path, monkeypatch, method, expected
):
    requires_grad, gather = set(), adapt.gather

    def spy(rows):
        requires_grad.add(rows.requires_grad)
        return gather(rows)

    monkeypatch.setattr(adapt, "gather", spy)
    settings = AdaptConfig(epochs=1, batch_size=8)
    run_adaptation(target, open_run(tmp_path, "r", {}), method(open_set=True), settings=settings)
    assert requires_grad == {expected}


def test_a_batch_larger_than_the_target_is_an_error(target, tmp_path):
    with pytest.raises(ValueError, match="64 is more than the 20 images"):
        run_adaptation(target, open_run(tmp_path, "r", {}), settings=AdaptConfig())


def test_a_target_in_a_file_gives_the_same_weights(target, tmp_path):
    # Resized, so that decoded and resized pictures both lie in files.
    whole = fresh_model()
    mapped = fresh_model()
    sizes = ImageConfig(decode_px=32, resize_px=30, crop_px=28)
    for model, compute in (
        (whole, ComputeConfig()),
        (mapped, ComputeConfig(image_memory_gb=0.0, cache=str(tmp_path / "cache"))),
    ):
        run = open_run(tmp_path, "r", {"gb": compute.image_memory_gb})
        method = Lead(open_set=True, clusters="features")
        adapt.adapt(model, target, method, SETTINGS, run, Loop(sizes, 0, CPU, compute))
    assert not changed(whole.state_dict(), mapped.state_dict())


def test_bfloat16_adapts_and_its_bank_is_float32(target, tmp_path):
    model, compute = fresh_model(), ComputeConfig(precision="bfloat16")
    run, banks = open_run(tmp_path, "r", {}), []

    def keep(epoch, bank):
        banks.append(bank)
        return ""

    method = Lead(open_set=True, clusters="features")
    adapt.adapt(model, target, method, SETTINGS, run, Loop(SIZES, 0, CPU, compute), keep)
    assert len(banks) == 4
    assert {bank.features.dtype for bank in banks} == {torch.float32}
    assert {bank.probabilities.dtype for bank in banks} == {torch.float32}
    exact = forward_all(fresh_model(), target.images, 28, CPU)
    assert not torch.equal(banks[0].features, exact.features)
    torch.testing.assert_close(banks[0].features, exact.features, atol=0.1, rtol=0.1)


def test_the_rate_follows_the_schedule(target, tmp_path, rates):
    """(1 + 10 t/T)^-0.75 with t from 1, a tenth of it for the backbone, set before each step."""
    run_adaptation(target, open_run(tmp_path, "a", {}))
    total = len(rates)
    assert total == SETTINGS.epochs * (len(target.images) // SETTINGS.batch_size)
    for t, groups in enumerate(rates, start=1):
        rate = SETTINGS.rate * (1 + 10 * t / total) ** -0.75
        assert sorted(set(groups)) == pytest.approx([0.1 * rate, rate])


def test_order_and_views_are_drawn_anew_in_every_epoch(target, tmp_path, monkeypatch):
    used, views = [], target_batches.views

    def spy(images, px, draws):
        both = zip(images, draws, strict=True)
        used.append({image.numpy().tobytes(): tuple(draw) for image, draw in both})
        return views(images, px, draws)

    monkeypatch.setattr(target_batches, "views", spy)
    run_adaptation(target, open_run(tmp_path, "a", {}), settings=AdaptConfig(2, batch_size=8))
    half = len(used) // 2
    epochs = [
        {name: draw for batch in part for name, draw in batch.items()}
        for part in (used[:half], used[half:])
    ]
    assert [set(batch) for batch in used[:half]] != [set(batch) for batch in used[half:]]
    both = epochs[0].keys() & epochs[1].keys()
    assert len(both) > 4
    same = sum(epochs[0][name] == epochs[1][name] for name in both)
    assert same < len(both) / 2  # of 50 crops and flips


def test_half_precision_scales_backward_then_steps(target, tmp_path, monkeypatch):
    order = []

    class Spy:
        def scale(self, loss):
            order.append("scale")
            return loss * 2.0

        def step(self, optimizer):
            order.append("step")
            optimizer.step()

        def update(self):
            order.append("update")

        def state_dict(self):
            return {}

    monkeypatch.setattr(state, "gradient_scaler", lambda device, compute: Spy())
    run_adaptation(
        target, open_run(tmp_path, "a", {}), settings=AdaptConfig(epochs=1, batch_size=8)
    )
    assert order[:3] == ["scale", "step", "update"]
    assert len(order) == 3 * (len(target.images) // 8)


def test_a_diverging_network_is_an_error(target, tmp_path):
    wild = AdaptConfig(epochs=1, batch_size=8, rate=1e12)
    with pytest.raises(ValueError, match=r"adapt\.rate: .* epoch 1; lower the rate"):
        run_adaptation(target, open_run(tmp_path, "a", {}), settings=wild)


@pytest.mark.parametrize("method", [SourceOnly(open_set=True), None])
def test_a_source_model_whose_features_overflow_is_an_error_before_any_epoch(
    target, tmp_path, method
):
    model = fresh_model()
    with torch.no_grad():
        model.bottleneck[1].weight.fill_(3e38)  # finite, unlike its products
        model.bottleneck[0].bias.fill_(1e3)
    run = open_run(tmp_path, "a", {})
    method = method or Lead(open_set=True, clusters="features")
    with pytest.raises(ValueError, match=r"of the source model, features are not finite"):
        adapt.adapt(model, target, method, SETTINGS, run, Loop(SIZES, 0, CPU))
    assert not run.checkpoint.exists()
    assert not list(run.folder.glob("banks/*"))


def test_a_state_that_is_not_finite_is_not_gone_on_with(target, tmp_path):
    run = open_run(tmp_path, "a", {})
    run_adaptation(target, run)
    saved = read_checkpoint(run.checkpoint)
    saved["optimizer"]["state"][0]["momentum_buffer"][:] = float("nan")
    run.save_checkpoint(saved)
    words = r"checkpoint\.pt: optimizer\.state\.0\.momentum_buffer: .* not finite"
    with pytest.raises(ValueError, match=words):
        run_adaptation(target, run)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": None},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"model": {}},
        {"model": []},
        {"epoch": "x"},
    ],
)
def test_a_state_that_does_not_fit_is_named(tmp_path, change):
    run = open_run(tmp_path, "a", {})
    training = state.TrainState(tiny_model(3), SETTINGS, Loop(SIZES, 0, CPU), train_classifier=True)
    saved = training.state_dict()
    run.save_checkpoint(saved)
    assert training.restore(run)["epoch"] == 0
    for key in ("epoch", "optimizer"):
        run.save_checkpoint({name: value for name, value in saved.items() if name != key})
        with pytest.raises(ValueError, match=rf"checkpoint\.pt: does not fit this run \('{key}'\)"):
            training.restore(run)
    run.save_checkpoint(saved | change)
    with pytest.raises(ValueError, match=r"checkpoint\.pt: does not fit this run .*; delete"):
        training.restore(run)


def test_probabilities_of_a_bank_are_probabilities(tmp_path):
    run = open_run(tmp_path, "a", {})
    save_bank(run, Bank(torch.ones(2, 3), torch.tensor([[-0.5, 1.5]] * 2), torch.ones(2, 3)), 0)
    with pytest.raises(ValueError, match=r"bank of epoch 0 .* is not in 0 to 1"):
        read_bank(run, 0)


def test_features_beyond_half_precision_are_kept_as_they_are(tmp_path):
    run = open_run(tmp_path, "a", {})
    save_bank(run, Bank(torch.full((2, 3), 7e4), torch.ones(2, 1), torch.ones(1, 3)), 0)
    assert read_bank(run, 0).features.tolist() == [[7e4] * 3] * 2


def test_a_bank_that_is_not_finite_names_its_file(tmp_path):
    run = open_run(tmp_path, "a", {})
    spoilt = torch.tensor([[1.0, float("nan")]])
    save_bank(run, Bank(spoilt, torch.ones(1, 1), torch.ones(1, 2)), 0)
    with pytest.raises(ValueError, match=r"epoch_00\.npz: features are not finite"):
        read_bank(run, 0)
    (run.folder / "banks" / "epoch_00.npz").write_bytes(b"PK half a file")
    with pytest.raises(ValueError, match=r"epoch_00\.npz: cannot be read"):
        read_bank(run, 0)
