"""Screening: failed edits are named, good edits and unusual originals are let through."""

import io
import json
import math

import numpy as np
import pytest
import torch
from helpers.drawings import drawings, tensor
from PIL import Image

from genmix_aug.editors import EDITORS
from genmix_aug.prompts import PROMPT_SETS
from genmix_aug.screening import checks as screening
from genmix_aug.screening.checks import (
    REASONS,
    Reference,
    Verdict,
    reference_of,
    screen,
    similarities,
)

PROMPTS = PROMPT_SETS["all"]


def reasons(originals, edits, **options):
    return [verdict.reason for verdict in screen(originals, edits, **options)]


def solid(*colour, count=1, size=(40, 31)):
    return torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(count, 3, *size).clone()


def textures(count=1, size=(40, 31), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), generator=generator).byte()


def colours(images):
    """Return mean and deviation of each channel, and a constant; as a network would."""
    levels = images.float().flatten(2) / 255
    ones = torch.ones(len(images), 1)
    return torch.cat([levels.mean(2), levels.std(2, correction=0), ones], 1)


def test_scores_equal_a_loop_over_pixels():
    originals, edits = textures(3, (7, 5)), textures(3, (7, 5), seed=1)
    for original, edit, verdict in zip(originals, edits, screen(originals, edits), strict=True):
        a, b = original.double().numpy(), edit.double().numpy()
        variances = []
        for channel in b:
            mean = sum(channel.flat) / channel.size
            variances.append(sum((v - mean) ** 2 for v in channel.flat) / channel.size)
        assert verdict.scores == {
            "brightness": pytest.approx(sum(b.flat) / b.size, abs=1e-3),
            "contrast": pytest.approx(math.sqrt(sum(variances) / 3), abs=1e-3),
            "change": pytest.approx(
                sum(abs(x - y) for x, y in zip(a.flat, b.flat, strict=True)) / a.size
            ),
        }
        assert verdict.reason == ""


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (solid(0, 0, 0), "black"),
        (textures() // 60, "black"),
        (solid(255, 255, 255), "white"),
        (255 - textures() // 60, "white"),
        (solid(128, 128, 128), "flat"),
        (solid(255, 0, 0), "flat"),  # its channels differ, its pixels do not
        (textures() // 16 + 90, "flat"),
        (textures(), "unchanged"),
        (textures(seed=5), ""),
    ],
)
def test_each_failure_has_its_name(edit, reason):
    assert reasons(textures(), edit) == [reason]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_value_that_is_not_finite_is_enough(value, dtype):
    originals = textures(3)
    edits = (textures(3, seed=1) / 255).to(dtype)
    edits[1, 2, 3, 4] = value
    verdicts = screen(originals, edits, colours, Reference(torch.zeros(7), -1.0))
    assert [verdict.reason for verdict in verdicts] == ["", "non-finite", ""]
    scores = json.loads(json.dumps([verdict.scores for verdict in verdicts], allow_nan=False))
    assert all(math.isfinite(score) for each in scores for score in each.values())
    edits[1] = value
    assert reasons(originals, edits) == ["", "non-finite", ""]


def test_float_and_uint8_edits_are_judged_alike():
    originals = textures(4)
    edits = torch.cat([textures(1, seed=1), solid(0, 0, 0), solid(9, 9, 9), solid(99, 99, 99)])
    floats = edits / 255
    floats[0, 0, 0, 0], edits[0, 0, 0, 0] = 1.4, 255  # cut off, as in a cast
    options = {"features": colours, "reference": reference_of(colours(originals))}
    for verdict, other in zip(
        screen(originals, edits, **options), screen(originals, floats, **options), strict=True
    ):
        assert verdict.reason == other.reason
        assert verdict.scores == pytest.approx(other.scores, abs=1e-3)


def thin_lines(shade=250, paper=255):
    image = solid(paper, paper, paper, size=(128, 128))
    image[:, :, 60:62, 20:100] = shade - paper if shade < 0 else shade
    return image


def test_an_edit_is_not_at_fault_for_what_its_original_is_too():
    on_white, on_black = thin_lines(30), thin_lines(200, 0)
    for original in (on_white, on_black):
        moved = original.roll(30, 2)
        verdict = screen(original, moved)[0]
        light = verdict.scores["brightness"]
        assert min(light, 255 - light) < screening.BLANK_MARGIN
        assert verdict.reason in ("", "unchanged")
    faint = solid(100, 100, 100, size=(64, 64))
    faint[:, :, 32:] += 8  # flat by itself, and changed enough
    assert reasons(faint, faint + 20) == [""]
    # What the original had and the edit has lost is a fault, however little it was.
    assert reasons(on_white, solid(255, 255, 255, size=(128, 128))) == ["white"]
    assert reasons(on_black, solid(0, 0, 0, size=(128, 128))) == ["black"]
    assert reasons(faint, solid(160, 160, 160, size=(64, 64))) == ["flat"]


def test_blank_originals_kept_blank_are_unchanged():
    for shade in (0, 255, 128):
        blank = solid(shade, shade, shade)
        assert reasons(blank, blank) == ["unchanged"]


def test_a_way_through_the_editors_size_and_jpeg_is_no_change():
    originals = drawings(10)
    edits = []
    for original in originals:
        image = Image.fromarray(original.permute(1, 2, 0).numpy())
        large = image.resize((512, 512), Image.Resampling.BICUBIC)
        back = large.resize(image.size, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        back.save(file, "JPEG", quality=95, subsampling=0)
        edits.append(tensor(Image.open(file)))
    verdicts = screen(originals, torch.stack(edits))
    assert {verdict.reason for verdict in verdicts} == {"unchanged"}
    assert max(verdict.scores["change"] for verdict in verdicts) > 0


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_pixels_of_filters_pass(prompt):
    originals = drawings(10)
    edits = EDITORS["filters"]().edit(originals, [prompt] * 10, list(range(10)))
    assert set(reasons(originals, edits)) == {""}


def test_verdicts_do_not_depend_on_the_batch():
    originals, edits = textures(6), textures(6, seed=1)
    edits[2:4] = originals[2:4]
    options = {"features": colours, "reference": reference_of(colours(originals), 0.5)}
    together = screen(originals, edits, **options)
    for k in range(6):
        alone = screen(originals[k : k + 1], edits[k : k + 1], **options)[0]
        assert alone.reason == together[k].reason
        assert alone.scores == pytest.approx(together[k].scores, abs=1e-3)
    empty = textures(6)[:0]
    assert screen(empty, empty, **options) == []


def test_similarity_equals_the_formula():
    generator = torch.Generator().manual_seed(3)
    edits, originals = torch.randn(2, 5, 7, generator=generator)
    mean = originals.mean(0)
    shift = [screening.CENTRING * float(m) for m in mean]
    for row, value in enumerate(similarities(edits, originals, mean)):
        a = [float(v) - s for v, s in zip(edits[row], shift, strict=True)]
        b = [float(v) - s for v, s in zip(originals[row], shift, strict=True)]
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        norms = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        assert float(value) == pytest.approx(dot / norms, abs=1e-5)


@pytest.mark.parametrize("quantile", [0.0, 0.1, 0.5, 1.0])
def test_the_limit_is_a_quantile_over_pairs_of_strangers(quantile):
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)) + 1
    reference = reference_of(features, quantile)
    torch.testing.assert_close(reference.mean, features.mean(0))
    pairs = sorted(
        float(similarities(features[i : i + 1], features[j : j + 1], reference.mean))
        for i in range(9)
        for j in range(i)
    )
    assert pairs[-1] > screening.HIGHEST_LIMIT
    expected = min(pairs[round(quantile * (len(pairs) - 1))], screening.HIGHEST_LIMIT)
    assert reference.min_similarity == pytest.approx(expected, abs=1e-5)


def test_originals_that_are_all_alike_do_not_raise_the_limit():
    noise = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    for spread in (0.01, 0.1):
        assert reference_of(1 + spread * noise).min_similarity == screening.HIGHEST_LIMIT


def test_two_originals_have_one_pair():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    limits = {round(reference_of(features, q).min_similarity, 6) for q in (0, 0.3, 1)}
    # (0.75, -0.25) and (-0.25, 0.75): -0.375 / 0.625
    assert limits == {-0.6}


def test_a_sample_of_pairs_gives_nearly_the_same_limit(monkeypatch):
    features = torch.randn(300, 8, generator=torch.Generator().manual_seed(2)) + 0.5
    exact = reference_of(features, 0.25).min_similarity
    monkeypatch.setattr(screening, "MAX_PAIRS", 20_000)
    sampled = reference_of(features, 0.25).min_similarity
    assert sampled == reference_of(features, 0.25).min_similarity
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=0.02)


def test_no_pair_of_the_sample_is_an_image_with_itself(monkeypatch):
    monkeypatch.setattr(screening, "MAX_PAIRS", 2)
    features = torch.eye(3) * 50  # strangers all alike; an image with itself would be 1
    assert reference_of(features, 1.0).min_similarity < 0


def test_only_too_low_a_similarity_rejects():
    originals = drawings(20, 48)
    reference = reference_of(colours(originals), 0.5)
    inverted = 255 - originals
    verdicts = screen(originals, inverted, colours, reference)
    below = [v.scores["similarity"] < reference.min_similarity for v in verdicts]
    assert any(below)
    assert [v.reason for v in verdicts] == ["unrecognisable" if low else "" for low in below]
    lenient = Reference(reference.mean, -1.0)
    assert set(reasons(originals, inverted, features=colours, reference=lenient)) == {""}


def test_a_network_finds_edits_nearer_than_noise_and_strangers():
    from uda.models.classifier import build_model

    model = build_model("efficientnet_lite0", "imagenet", "linear", 0, 2).eval()

    @torch.no_grad()
    def features(images):
        return model.backbone((images.float() / 255 - model.mean) / model.std)

    originals = drawings(20, 96)
    reference = reference_of(features(originals))
    edits = {
        prompt: EDITORS["filters"]().edit(originals, [prompt] * 20, list(range(20)))
        for prompt in ("cartoon style", "snowy", "graffiti")
    }
    failures = {"noise": textures(20, (96, 96)), "swapped": originals.roll(1, 0)}
    verdicts = {
        name: screen(originals, pictures, features, reference)
        for name, pictures in (edits | failures).items()
    }
    means = {
        name: np.mean([v.scores["similarity"] for v in each]) for name, each in verdicts.items()
    }
    assert min(means[name] for name in edits) > 0.1 + max(means[name] for name in failures)
    rejected = {name: sum(v.reason != "" for v in each) for name, each in verdicts.items()}
    assert max(rejected[name] for name in edits) <= 1
    assert rejected["swapped"] >= 5


def test_features_are_asked_for_uint8_images():
    seen = []

    def spy(images):
        seen.append((images.dtype, tuple(images.shape)))
        return colours(images)

    originals = textures(2)
    screen(originals, textures(2, seed=1) / 255, spy, reference_of(colours(originals)))
    assert seen == [(torch.uint8, (2, 3, 40, 31))] * 2


def test_reasons_and_verdicts_are_what_the_store_writes():
    assert len(set(REASONS)) == len(REASONS)
    verdict = screen(textures(), textures(seed=1))[0]
    assert isinstance(verdict, Verdict)
    assert json.loads(json.dumps(verdict.scores)) == verdict.scores
    assert all(score == round(score, 4) for score in verdict.scores.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: screen(textures().float(), textures()), r"originals must be uint8 \[B, 3, H, W\]"),
        (lambda: screen(textures()[0], textures()[0]), r"originals must be uint8"),
        (lambda: screen(textures(2), textures(1)), r"edits are \[1, 3, 40, 31\] where"),
        (lambda: screen(textures(), textures().int()), r"edits must be uint8 or float .*int32"),
        (lambda: screen(textures(), textures(), colours), r"feature function and its reference"),
        (
            lambda: screen(textures(), textures(), colours, Reference(torch.zeros(3), 0.0)),
            r"must give \[1, 3\], not \[1, 7\]",
        ),
        (
            lambda: screen(
                textures(), textures(), lambda x: colours(x) / 0, Reference(torch.zeros(7), 0.0)
            ),
            r"not finite",
        ),
        (lambda: reference_of(torch.ones(1, 4)), r"at least two originals, not 1"),
        (lambda: reference_of(torch.ones(0, 4)), r"at least two originals, not 0"),
        (lambda: reference_of(torch.ones(4)), r"must give \[4, D\], not \[4\]"),
        (lambda: reference_of(torch.full((3, 4), math.nan)), r"not finite"),
        (lambda: reference_of(torch.ones(3, 4), 1.5), r"quantile .* 0 to 1, not 1.5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
