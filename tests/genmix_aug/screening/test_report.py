"""The report on screening: counts, the prompts' ranking, the figure and the worst edits."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from helpers.drawings import drawings
from PIL import Image

from genmix_aug.editors import EDITORS
from genmix_aug.prompts import PROMPT_SETS
from genmix_aug.screening.checks import reference_of, screen
from genmix_aug.screening.report import draw_similarities, draw_worst, rank_prompts, summary, worst
from genmix_aug.seeding import hash_seed


def record(prompt, reason="", similarity=None, number=0):
    scores = {"brightness": 120.0, "contrast": 40.0, "change": 30.0}
    if similarity is not None:
        scores["similarity"] = similarity
    key = f"{hash_seed(prompt, reason, number):016x}"
    return {"key": key, "prompt": prompt, "reason": reason, "scores": scores}


def records_of(prompt, good, bad, similarity=None, reason="black"):
    return [
        *(record(prompt, "", similarity, k) for k in range(good)),
        *(record(prompt, reason, similarity, k) for k in range(bad)),
    ]


class Breaking:
    """The editor `filters`, but for prompts that come to nothing, as in the paper's Figure 6."""

    fingerprint = "breaking-v1"

    def edit(self, images, prompts, seeds):
        edits = torch.empty_like(images)
        for k, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            image = images[k : k + 1]
            if prompt == "noise":
                generator = torch.Generator().manual_seed(seed)
                edits[k] = torch.randint(0, 256, image.shape[1:], generator=generator).byte()
            elif prompt == "broken":
                edits[k] = 0
            elif prompt == "sometimes":
                edits[k] = image[0] if seed % 2 else 255 - image[0]
            else:
                edits[k] = EDITORS["filters"]().edit(image, [prompt], [seed])[0]
        return edits


def screened(prompts, count=10, features=None, px=48):
    """Return records and pictures of real edits, as the store would keep them."""
    originals = drawings(count, px)
    reference = features and reference_of(features(originals))
    records, pictures = [], {}
    for prompt in prompts:
        seeds = list(range(count))
        edits = Breaking().edit(originals, [prompt] * count, seeds)
        verdicts = screen(originals, edits, features, reference)
        for k, verdict in enumerate(verdicts):
            key = f"{hash_seed(prompt, k):016x}"
            records.append({"key": key, "prompt": prompt, **verdict._asdict()})
            pictures[key] = originals[k], edits[k]
    return records, pictures


def edges(images):
    """Return how strong the edges are in each of 16 parts, less their mean; as a network would."""
    grey = images.float().mean(1, keepdim=True)
    across = (grey[..., :, 1:] - grey[..., :, :-1]).abs()
    parts = torch.nn.functional.adaptive_avg_pool2d(across, 4).flatten(1)
    return parts - parts.mean(1, keepdim=True)


def test_prompts_are_ranked_by_share_then_by_similarity():
    records = [
        *records_of("half", 10, 10, 0.9),
        *records_of("good, less alike", 20, 0, 0.3),
        *records_of("all bad", 0, 20, 0.9),
        *records_of("good, alike", 20, 0, 0.5),
        *records_of("some", 15, 5, 0.1),
    ]
    rows = rank_prompts(records)
    assert [row.prompt for row in rows] == [
        "good, alike",
        "good, less alike",
        "some",
        "half",
        "all bad",
    ]
    assert rows[3] == ("half", 20, 10, {"black": 10}, pytest.approx(0.9))
    assert rank_prompts(reversed(records)) == rows


def test_few_edits_do_not_put_a_prompt_last():
    records = [*records_of("a single edit", 0, 1), *records_of("most of many", 20, 80)]
    assert [row.prompt for row in rank_prompts(records)] == ["a single edit", "most of many"]
    # Nothing rejected is equal to nothing rejected, however many were made.
    records = [*records_of("few", 2, 0, 0.2), *records_of("many", 200, 0, 0.1)]
    assert [row.prompt for row in rank_prompts(records)] == ["few", "many"]


def test_prompts_without_similarities_are_ranked_by_share():
    records = [*records_of("b", 9, 1), *records_of("c", 5, 5), *records_of("a", 10, 0)]
    rows = rank_prompts(records)
    assert [row.prompt for row in rows] == ["a", "b", "c"]
    assert {row.similarity for row in rows} == {None}
    mixed = [*records, *records_of("d", 4, 0, -0.9)]
    assert [row.prompt for row in rank_prompts(mixed)] == ["d", "a", "b", "c"]
    assert rank_prompts([]) == []


@pytest.mark.parametrize("features", [None, edges], ids=["pixels", "features"])
def test_prompts_that_really_fail_come_out_last(features):
    prompts = ["broken", "cartoon style", "sometimes", "digital art", "snowy"]
    records, _ = screened(prompts, features=features)
    ranked = [row.prompt for row in rank_prompts(records)]
    assert ranked[-2:] == ["sometimes", "broken"]


def test_noise_comes_out_last_by_its_features():
    records, _ = screened(["noise", *PROMPT_SETS["cross-domain"]], count=20, features=edges)
    rows = rank_prompts(records)
    assert rows[-1].prompt == "noise"
    assert set(rows[-1].reasons) == {"unrecognisable"}
    assert rows[-1].similarity < 0.5 * min(row.similarity for row in rows[:-1])


def test_the_summary_counts_everything():
    records = [
        *records_of("snowy", 90, 6, 0.4),
        *records_of("mosaic", 100, 4, 0.2, "unrecognisable"),
    ]
    text = summary(records, 0.05)
    lines = text.splitlines()
    assert lines[:5] == [
        "edits             200  100.0 %",
        "accepted          190   95.0 %",
        "rejected           10    5.0 %",
        "  black             6    3.0 %",
        "  unrecognisable    4    2.0 %",
    ]
    low, mean = 0.2, (96 * 0.4 + 104 * 0.2) / 200
    assert f"similarity: mean {mean:.2f}, 5 % quantile {low:.2f}, limit 0.05" in lines
    assert "by share rejected, then by similarity" in text
    assert lines[-3].split() == ["prompt", "edits", "rejected", "similarity", "why"]
    assert lines[-2].startswith("mosaic")
    assert lines[-1].split() == ["snowy", "96", "6", "6.2", "%", "0.40", "black", "6"]
    assert len({line.index("%") for line in lines[-2:]}) == 1
    assert "limit" not in summary(records)


def test_the_summary_says_where_similarities_are_missing():
    text = summary(records_of("snowy", 3, 0))
    assert "by share rejected alone: similarities were not measured" in text
    assert "–" not in text
    assert summary([]) == "no edits"
    mixed = summary([*records_of("snowy", 3, 0), *records_of("mosaic", 3, 0, 0.5)])
    assert mixed.splitlines()[-1].split() == ["snowy", "3", "0", "0.0", "%", "–"]


def test_the_worst_show_every_fault_before_any_twice():
    records = [
        *(record("broken", "black", None, k) for k in range(50)),
        *(record("snowy", "unrecognisable", -0.1 * k, k) for k in range(3)),
        *(record("snowy", "", 0.1 * k, k) for k in range(5)),
    ]
    chosen = worst(records, 5)
    assert [(r["prompt"], r["reason"]) for r in chosen] == [
        ("broken", "black"),
        ("snowy", "unrecognisable"),
        ("broken", "black"),
        ("snowy", "unrecognisable"),
        ("broken", "black"),
    ]
    assert chosen[1]["scores"]["similarity"] == pytest.approx(-0.2)
    everything = worst(records, 1000)
    assert len(everything) == len(records)
    assert [r["scores"]["similarity"] for r in everything[-5:]] == [0.1 * k for k in range(5)]
    assert worst(records, 0) == []
    assert worst([], 3) == []
    assert worst(reversed(records), 9) == worst(records, 9)


@pytest.mark.parametrize("count", [1, 15])
def test_the_figure_has_a_row_for_each_prompt(tmp_path, count):
    rng = np.random.default_rng(0)
    records = [
        record(prompt, "unrecognisable" if value < 0.1 else "", value, k)
        for number, prompt in enumerate(PROMPT_SETS["all"][:count])
        for k, value in enumerate(rng.normal(0.6 - 0.03 * number, 0.15, 60).clip(-1, 1).tolist())
    ]
    path = tmp_path / "new" / "similarities.png"
    draw_similarities(records, 0.1, path)
    with Image.open(path) as image:
        width, height = image.size
        blue = np.asarray(image.convert("RGB"))
    assert width == 8 * 144
    assert height == pytest.approx((1.3 + 0.42 * count) * 144, abs=2)
    assert (blue == (0, 0x72, 0xB2)).all(2).any()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_figure_takes_one_edit_and_prompts_without_a_similarity(tmp_path):
    records = [record("snowy", "", 0.5), record("mosaic", "black")]
    draw_similarities(records, None, tmp_path / "single.png")
    assert (tmp_path / "single.png").stat().st_size > 5000


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no edit in the store has a similarity"):
        draw_similarities([record("snowy")], 0.1, tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"must end in \.png: .*none\.pdf"):
        draw_similarities([record("snowy", "", 0.5)], 0.1, tmp_path / "none.pdf")
    with pytest.raises(ValueError, match="0 pairs of pictures for 1 records"):
        draw_worst([], [record("snowy")], 64)
    with pytest.raises(ValueError, match="at least one row"):
        draw_worst([], [], 64)
    assert list(tmp_path.iterdir()) == []


def test_the_sheet_shows_originals_beside_their_edits():
    records, pictures = screened(["broken", "snowy"], features=edges)
    chosen = worst(records, 20)
    sheet = draw_worst([pictures[r["key"]] for r in chosen], chosen, 48)
    few = draw_worst([pictures[r["key"]] for r in chosen[:8]], chosen[:8], 48)
    assert few.height == sheet.height
    assert sheet.width == pytest.approx(3 * few.width, rel=0.1)
    for picture in pictures[chosen[0]["key"]]:
        pixels = picture.permute(1, 2, 0).contiguous().numpy()
        # The part of the sheet that is nearest to the picture is the picture, pixel by pixel.
        x, y = cv2.minMaxLoc(cv2.matchTemplate(np.array(few), pixels, cv2.TM_SQDIFF))[2]
        assert np.array_equal(np.asarray(few)[y : y + 48, x : x + 48], pixels)


def test_importing_the_report_needs_no_torch_and_no_matplotlib():
    code = (
        "import sys, genmix_aug.screening.report\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
