from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from helpers.tiny import make_dataset
from helpers.training import CPU, SIZES, Killed, changed, labelled, tiny_model
from torch import nn

from uda.augment.manifold_mixup import ManifoldMixupAugmentation
from uda.augment.none import NoAugmentation
from uda.augment.randaugment import RandAugmentation
from uda.config import ComputeConfig, ImageConfig, TrainConfig
from uda.models.classifier import Classifier
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import open_run
from uda.training import source_batches, state, train
from uda.training.state import Loop

SETTINGS = TrainConfig(steps=12, batch_size=8)


class Marked(NoAugmentation):
    """Makes black copies, and notes the id and seed of each."""

    copies = True

    def __init__(self):
        self.asked = []

    def images(self, images, ids, seeds):
        self.asked += list(zip(ids, seeds, strict=True))
        return torch.zeros_like(images)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return labelled(make_dataset(tmp_path_factory.mktemp("tiny"), per_class=6))


def kill(model, epoch):
    if epoch == 2:
        raise Killed


def run_training(
    data,
    run,
    settings=SETTINGS,
    augmentation=None,
    after_epoch=None,
    seed=0,
    sizes=SIZES,
    dropout=0.0,
    **more,
):
    model = tiny_model(5, seed)
    if dropout:
        model.bottleneck.append(nn.Dropout(dropout))
    seen = train.train(
        model,
        data,
        augmentation or NoAugmentation(),
        1,
        settings,
        run,
        Loop(sizes, seed, CPU, **more),
        after_epoch,
    )
    return model, seen


def test_steps_do_not_grow_with_copies():
    settings = TrainConfig(epochs=3, batch_size=8)
    assert train.total_steps(30, 0, settings) == 9
    assert train.total_steps(30, 2, settings) == 9
    assert train.total_steps(30, 2, TrainConfig(epochs=3, batch_size=8, budget="epochs")) == 27
    assert train.total_steps(30, 2, TrainConfig(steps=5, batch_size=8)) == 5
    with pytest.raises(ValueError, match="64 is more than the 30 images"):
        train.total_steps(30, 0, TrainConfig())


def test_epoch_rows_are_a_shuffle_with_the_rest_dropped():
    batches = source_batches.epoch_rows(21, 4, epoch=0, seed=0)
    rows = torch.cat(batches)
    assert [len(batch) for batch in batches] == [4] * 5
    assert len(set(rows.tolist())) == 20
    assert not torch.equal(rows, torch.cat(source_batches.epoch_rows(21, 4, epoch=1, seed=0)))


def test_smoothing_and_cross_entropy_are_torchs():
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    ours = train.soft_cross_entropy(logits, source_batches.smoothed_targets(labels, 5, 0.1))
    theirs = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(ours, theirs)


def test_counts_of_images_seen(data, tmp_path):
    _, plain = run_training(data, open_run(tmp_path, "plain", {}))
    assert plain.counts() == {"images": 96, "distinct_originals": 30, "augmented": 0}
    marked = Marked()
    _, mixed = run_training(data, open_run(tmp_path, "mixed", {"m": 1}), augmentation=marked)
    assert mixed.images == 96
    assert mixed.augmented == len(marked.asked)
    assert 30 < mixed.augmented < 66  # half, give or take
    assert len({seed for _, seed in marked.asked}) == mixed.augmented  # each drawn anew


class Inside(Marked):
    """Augments every image and every step, and notes each."""

    copies = False
    every_image = True

    def __init__(self):
        super().__init__()
        self.mixed, self.entered = [], []

    def batch(self, images, targets, seed):
        self.mixed.append(seed)
        return images, targets

    @contextmanager
    def within(self, model, batch_size, seed):
        self.entered.append((batch_size, seed))
        count = []
        handle = model.register_forward_hook(lambda *_: count.append(1))
        yield
        handle.remove()
        assert count == [1], "the network computes the batch inside"


def test_every_image_is_augmented_and_every_step_mixed(data, tmp_path):
    inside = Inside()
    _, seen = run_training(data, open_run(tmp_path, "r", {}), augmentation=inside)
    assert seen.counts() == {"images": 96, "distinct_originals": 30, "augmented": 96}
    assert {number for number, _ in inside.asked} == set(range(30))
    assert len({seed for _, seed in inside.asked}) == 96  # each drawn anew
    assert inside.entered == [(8, seed) for seed in inside.mixed]
    assert len(set(inside.mixed)) == 12


def test_every_part_of_a_step_is_mixed_by_another_draw(data, tmp_path):
    inside = Inside()
    settings = replace(SETTINGS, accumulate=2)
    run_training(data, open_run(tmp_path, "r", {}), settings, augmentation=inside)
    assert len(set(inside.mixed)) == len(inside.mixed) == 24


def test_every_row_of_the_list_gets_another_view_in_every_pass(data, tmp_path, monkeypatch):
    seeds, used, views = [], [], source_batches.views

    def drawn(count, spare_px, flip, seed):
        seeds.append(tuple(seed))
        return np.array(list(product(range(spare_px + 1), range(spare_px + 1), (0, 1))))[:count]

    def spy(images, px, draws):
        used.append(draws)
        return views(images, px, draws)

    monkeypatch.setattr(source_batches, "draw_views", drawn)
    monkeypatch.setattr(source_batches, "views", spy)
    sizes, settings = replace(SIZES, crop_px=24), replace(SETTINGS, steps=14)
    run_training(data, open_run(tmp_path, "r", {}), settings, Marked(), sizes=sizes)
    assert len(seeds) == len(set(seeds)) == 2
    # 7 batches of 8 in a pass over 30 originals and their 30 copies.
    assert len(np.unique(np.concatenate(used[:7]), axis=0)) == 56


def test_the_loss_falls(data, tmp_path):
    run = open_run(tmp_path, "r", {})
    run_training(data, run, TrainConfig(steps=45, batch_size=10, rate=0.05, backbone_factor=1.0))
    losses = [line["loss"] for line in run.metrics("train")]
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize("augmentation", [NoAugmentation, Marked, ManifoldMixupAugmentation])
def test_a_killed_run_goes_on_to_the_same_weights(data, tmp_path, augmentation):
    whole, seen = run_training(data, open_run(tmp_path, "a", {"x": 1}), augmentation=augmentation())
    broken = open_run(tmp_path, "b", {"x": 2})
    with pytest.raises(Killed):
        run_training(data, broken, augmentation=augmentation(), after_epoch=kill)
    again, seen_again = run_training(data, broken, augmentation=augmentation())
    assert seen_again.counts() == seen.counts()
    assert not changed(whole.state_dict(), again.state_dict())


@pytest.mark.parametrize("augmentation", [Marked, RandAugmentation])
def test_batches_made_ahead_give_the_same_weights(
    data, tmp_path, monkeypatch, make_batches_ahead, augmentation
):
    settings = replace(SETTINGS, accumulate=2)
    # On a GPU it seeds the GPU's generator: the thread's draws are of the CPU's.
    monkeypatch.setattr(train, "seed_network", lambda *_: None)
    whole, _ = run_training(
        data, open_run(tmp_path, "a", {"x": 1}), settings, augmentation=augmentation()
    )
    make_batches_ahead(source_batches)
    again, _ = run_training(
        data, open_run(tmp_path, "b", {"x": 2}), settings, augmentation=augmentation()
    )
    assert not changed(whole.state_dict(), again.state_dict())


def test_an_error_in_the_thread_that_makes_batches_is_raised(data, tmp_path, make_batches_ahead):
    class Broken(Marked):
        def images(self, images, ids, seeds):
            raise ValueError("an edit cannot be read")

    make_batches_ahead(source_batches)
    with pytest.raises(ValueError, match="an edit cannot be read"):
        run_training(data, open_run(tmp_path, "r", {}), augmentation=Broken())


def test_dropout_depends_on_seed_and_step_alone(data, tmp_path):
    """Not on earlier draws of the process, nor on where a run was stopped."""
    whole, _ = run_training(data, open_run(tmp_path, "a", {"x": 1}), dropout=0.5)
    torch.rand(7)
    broken = open_run(tmp_path, "b", {"x": 2})
    with pytest.raises(Killed):
        run_training(data, broken, after_epoch=kill, dropout=0.5)
    torch.rand(7)
    again, _ = run_training(data, broken, dropout=0.5)
    assert not changed(whole.state_dict(), again.state_dict())
    without, _ = run_training(data, open_run(tmp_path, "c", {"x": 3}))
    assert not torch.equal(whole.classifier.weight, without.classifier.weight)


def test_the_seed_decides_the_weights(data, tmp_path):
    first, _ = run_training(data, open_run(tmp_path, "a", {"x": 1}))
    same, _ = run_training(data, open_run(tmp_path, "b", {"x": 2}))
    other, _ = run_training(data, open_run(tmp_path, "c", {"x": 3}), seed=1)
    assert torch.equal(first.classifier.weight, same.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_images_in_a_file_give_the_same_weights(data, tmp_path):
    compute = ComputeConfig(image_memory_gb=0.0, cache=str(tmp_path / "cache"))
    sizes = ImageConfig(decode_px=32, resize_px=30, crop_px=28)
    whole, _ = run_training(data, open_run(tmp_path, "a", {"x": 1}), sizes=sizes)
    mapped, _ = run_training(data, open_run(tmp_path, "b", {"x": 2}), sizes=sizes, compute=compute)
    assert not changed(whole.state_dict(), mapped.state_dict())


def test_the_loss_falls_in_bfloat16_too(data, tmp_path):
    settings = TrainConfig(steps=45, batch_size=10, rate=0.05, backbone_factor=1.0)
    run, compute = open_run(tmp_path, "r", {}), ComputeConfig(precision="bfloat16")
    model, _ = run_training(data, run, settings, compute=compute)
    losses = [line["loss"] for line in run.metrics("train")]
    assert losses[-1] < 0.75 * losses[0]
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_the_rate_follows_the_schedule(data, tmp_path, rates):
    """(1 + 10 t/T)^-0.75 with t from 1, a tenth of it for the backbone, set before each step."""
    run_training(data, open_run(tmp_path, "a", {}))
    total = len(rates)
    assert total == SETTINGS.steps
    for t, groups in enumerate(rates, start=1):
        rate = SETTINGS.rate * (1 + 10 * t / total) ** -0.75
        assert sorted(set(groups)) == pytest.approx([0.1 * rate, rate])


FULL = replace(SETTINGS, schedule="cosine", warmup_epochs=1.0, ema=0.9, accumulate=2, clip_norm=1.0)


def test_a_killed_run_with_every_setting_goes_on_to_the_same_weights(data, tmp_path):
    def score(model, epoch):
        return [3.0, 1.0, 5.0, 5.0][epoch - 1]

    def score_and_kill(model, epoch):
        kill(model, epoch)
        return score(model, epoch)

    runs = [open_run(tmp_path, "r", {"x": number}) for number in range(2)]
    whole, _ = run_training(data, runs[0], FULL, after_epoch=score)
    with pytest.raises(Killed):
        run_training(data, runs[1], FULL, after_epoch=score_and_kill)
    again, _ = run_training(data, runs[1], FULL, after_epoch=score)
    assert not changed(whole.state_dict(), again.state_dict())
    kept = [read_checkpoint(run.folder / "best.pt") for run in runs]
    assert [best["epoch"] for best in kept] == [3, 3]  # the first of the highest
    assert not changed(kept[0]["model"], kept[1]["model"])
    saved = read_checkpoint(runs[1].folder / "checkpoint.pt")
    assert not changed(saved["model"], again.state_dict())
    assert 0 < saved["seconds"] == pytest.approx(runs[1].metrics("train")[-1]["seconds"], abs=0.01)


def test_no_best_checkpoint_without_a_score(data, tmp_path):
    run = open_run(tmp_path, "r", {})
    run_training(data, run, after_epoch=lambda model, epoch: None)
    assert not (run.folder / "best.pt").exists()


def test_the_average_is_of_the_weights_after_each_step(data, tmp_path, monkeypatch):
    notes, move = [], state.move_average

    def spy(average, model, decay, step):
        if not notes:
            notes.append({name: v.clone() for name, v in average.state_dict().items()})
        notes.append({name: v.clone() for name, v in model.state_dict().items()})
        move(average, model, decay, step)

    monkeypatch.setattr("uda.training.state.move_average", spy)
    averaged, _ = run_training(data, open_run(tmp_path, "a", {}), replace(SETTINGS, ema=0.5))
    plain, _ = run_training(data, open_run(tmp_path, "b", {"x": 1}))
    assert not changed(notes[-1], plain.state_dict())
    name = "classifier.bias"
    expected = notes[0][name]
    for step, weights in enumerate(notes[1:], start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights[name]
    torch.testing.assert_close(averaged.state_dict()[name], expected)
    assert not torch.equal(averaged.classifier.bias, plain.classifier.bias)


class Steady(nn.Module):
    """Returns the mean colour, which does not depend on the rest of the batch."""

    def forward(self, x):
        return x.mean(dim=(2, 3))


def steady_training(data, run, settings):
    model = Classifier(Steady(), nn.Linear(3, 4), nn.Linear(4, 5), (0.0,) * 3, (1.0,) * 3)
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    train.train(model, data, NoAugmentation(), 1, settings, run, Loop(SIZES, 0, CPU))
    return model


def test_accumulated_parts_give_the_whole_batchs_gradient(data, tmp_path):
    whole = steady_training(data, open_run(tmp_path, "a", {}), SETTINGS)
    parts = steady_training(data, open_run(tmp_path, "b", {}), replace(SETTINGS, accumulate=4))
    for first, second in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(first, second)
    with pytest.raises(ValueError, match="train.accumulate: 8 images cannot be divided into 3"):
        steady_training(data, open_run(tmp_path, "c", {}), replace(SETTINGS, accumulate=3))


def test_clipped_gradients_have_the_configured_norm(data, tmp_path, monkeypatch):
    norms, step = [], torch.optim.SGD.step

    def spy(optimizer, *args, **options):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat([g.flatten() for g in gradients if g is not None]).norm()))
        return step(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    run_training(data, open_run(tmp_path, "a", {}), replace(SETTINGS, clip_norm=0.1))
    assert norms == pytest.approx([0.1] * SETTINGS.steps, rel=1e-3)


def test_the_warm_up_is_counted_in_passes_over_the_originals():
    settings = TrainConfig(steps=100, batch_size=8, schedule="cosine", warmup_epochs=2)
    factors = [train.factor_at(step, 100, 30, settings) for step in range(1, 9)]
    assert factors[:6] == pytest.approx([step / 7 for step in range(1, 7)])  # 2 passes of 3 steps
    assert factors[6] == 1 > factors[7]
    short = replace(settings, warmup_epochs=1000)
    assert train.factor_at(100, 100, 30, short) == 1  # a warm-up longer than all ends with it


def test_random_crops_reach_into_the_padding(data, tmp_path, monkeypatch):
    seen, plain = [], source_batches.views

    def spy(images, px, draws):
        seen.append((images, draws))
        return plain(images, px, draws)

    monkeypatch.setattr(source_batches, "views", spy)
    sizes = ImageConfig(decode_px=32, resize_px=32, crop_px=32, pad_px=4)
    run_training(data, open_run(tmp_path, "r", {}), sizes=sizes)
    images, _ = seen[0]
    assert images.shape[-2:] == (40, 40)
    assert not images[..., :4, :].any()
    assert not images[..., -4:].any()
    corners = torch.cat([torch.from_numpy(draws[:, :2]) for _, draws in seen])
    assert (int(corners.min()), int(corners.max())) == (0, 8)


def test_weights_that_the_last_step_made_infinite_are_not_kept(data, tmp_path, monkeypatch):
    take_step = state.TrainState.take_step

    def overshoot(training, clip_norm=0.0):
        take_step(training, clip_norm)
        if training.step == SETTINGS.steps:  # the loss of this step was computed before
            training.model.classifier.bias.data[0] = float("inf")

    monkeypatch.setattr(state.TrainState, "take_step", overshoot)
    run = open_run(tmp_path, "a", {})
    with pytest.raises(ValueError, match=r"train\.rate: classifier\.bias is not finite after"):
        run_training(data, run)
    saved = read_checkpoint(run.checkpoint) if run.checkpoint.exists() else {"step": 0}
    assert saved["step"] < SETTINGS.steps
