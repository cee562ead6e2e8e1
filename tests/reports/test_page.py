import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from helpers.made_runs import PAIRS, finished, predict
from helpers.tiny import make_dataset
from PIL import Image

from uda.data.scenarios import class_split
from uda.reports.figures.drawing import as_svg, make_axes
from uda.reports.predictions import read_predictions
from uda.reports.report import write_report
from uda.reports.rows import boards
from uda.runs.folder import find_runs, open_run
from uda.sweeps.record import write_plan

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
VOID = {"meta", "img", "br", "link", "input", "hr"}
# Shared: bar, cross; only in the source: disc; private: ring, square.
NAMES = ["bar/00.png", "bar/01.png", "cross/00.png", "ring/00.png", "ring/01.png", "square/00.png"]
TRUE, CALLED = [0, 0, 1, 3, 3, 4], [0, 3, 2, 3, 1, 3]
SCORE = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7]


class Page(HTMLParser):
    """The tags of a page, in balance, and what they point to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.fetched, self.alts = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        elif tag in ("img", "link", "script", "image", "use", "source", "iframe"):
            self.fetched.append(given.get("src") or given.get("href") or given.get("data-src"))
        if tag == "img":
            self.alts.append(given["alt"])

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of runs of two pairs with all that a page can show, and its page."""
    folder = tmp_path_factory.mktemp("page")
    dataset = make_dataset(folder / "tiny", per_class=2)
    runs = folder / "runs"
    for pair in PAIRS:
        for method in ("source_only", "lead"):
            for augment, gain in (("none", 0.0), ("genmix", 5.0)):
                for seed in (0, 1):
                    scores = [40.0 + gain + seed, 45.0 + gain + seed]
                    own = scores[:1] if method == "source_only" else scores
                    run = finished(runs, dataset, method, augment, seed, own, pair)
                    predict(run, NAMES, TRUE, CALLED, SCORE)
    config = {"stage": "train", "data": {"dataset": str(dataset), "source": "Plain"}}
    trained = open_run(runs, "train", config)
    trained.start()
    Image.new("RGB", (1500, 300), "red").save(trained.folder / "genmix_stages.png")
    write_plan(runs, "tiny_sweep", {"seed": 0}, [])
    write_report(runs, "A <title>", ["html"])
    return runs


@pytest.fixture(scope="module")
def text(made):
    return (made / "report.html").read_text(encoding="utf-8")


def answers_of(setting, board):
    """What LEAD's first run says of the labelled pictures."""
    split = class_split(setting.spec, setting.scenario)
    return read_predictions(board["LEAD"].results[0].run, split)


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert page.fetched
    assert all(place.startswith(("data:", "#")) for place in page.fetched)
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert all(page.alts)
    assert len(text) < 500_000


def test_every_section_is_there(text):
    page = Page(text)
    for part in ("tables", "differences", "epochs", "scores", "confusion", "samples"):
        assert f"tiny_opda-{part}" in page.ids
        assert f"#tiny_opda-{part}" in page.links
    assert {"tiny_opda", "augmentation", "again"} <= set(page.ids)
    assert "A &lt;title&gt;" in text
    assert "LEAD + GenMix against LEAD: +5.0 points" in text
    assert "uda sweep tiny_sweep.yaml" in text
    assert "config.yaml, what decides" in text


def test_samples_are_pictures_of_their_kind(text):
    found = re.findall(r'<img src="data:image/webp[^"]*" alt="([^"]*, called [^"]*)"', text)
    # Of each pair: two found, one missed, one rejected; ring, then the surest of another class.
    assert found == [
        "ring, called unknown",
        "square, called unknown",
        "ring, called cross",
        "bar, called unknown",
    ] * len(PAIRS)


def test_confusion_and_cut_are_those_of_the_predictions(made):
    ((setting, board),) = boards(find_runs(made)).items()
    one = answers_of(setting, board)
    assert one.cut == pytest.approx(0.5)
    shares, rows, columns = one.confusion()
    assert rows == ["bar", "cross", "private"]
    assert columns == ["bar", "cross", "only in source", "unknown"]
    expected = [[0.5, 0, 0, 0.5], [0, 0, 1, 0], [0, 1 / 3, 0, 2 / 3]]
    np.testing.assert_allclose(shares, expected)


def test_pictures_that_nobody_knows_take_no_part(tmp_path):
    dataset = make_dataset(tmp_path)
    run = finished(tmp_path / "runs", dataset, "lead", "none", 0, [1, 2])
    predict(run, NAMES, [-1, 0, 1, -1, 3, 4], CALLED, SCORE)
    ((setting, board),) = boards(find_runs(tmp_path / "runs")).items()
    made = answers_of(setting, board)
    assert made.true_label.tolist() == [0, 1, 3, 4]
    shares, rows, _ = made.confusion()
    assert rows == ["bar", "cross", "private"]
    assert shares[2].tolist() == [0.0, 0.5, 0.0, 0.5]
    predict(run, NAMES, [-1] * 6, CALLED, SCORE)
    assert answers_of(setting, board) is None


def test_no_cut_where_the_score_does_not_decide(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=1)
    run = finished(tmp_path / "runs", dataset, "lead", "none", 0, [1.0])
    ((setting, board),) = boards([run]).items()
    predict(run, NAMES[:2], [0, 0], [0, 3], [0.9, 0.1])
    assert answers_of(setting, board).cut is None
    predict(run, NAMES[:2], [0, 0], [0, 0], [0.9, 0.1])
    one = answers_of(setting, board)
    assert one.cut is None
    shares, rows, columns = one.confusion()
    assert (rows, columns) == (["bar", "cross"], ["bar", "cross", "only in source"])
    assert np.isnan(shares[1]).all(), "a class without a picture"


def test_old_runs_and_missing_pictures_are_said(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=1)
    runs = tmp_path / "runs"
    run = finished(runs, dataset, "lead", "none", 0, [1.0, 2.0])
    np.savez(run.folder / "predictions.npz", label=[0], unknown_score=[0.1], is_private=[False])
    write_report(runs, "T", ["html"])
    text = (runs / "report.html").read_text()
    assert "Without unknown scores, confusion matrices and samples: Pl2Da" in text
    predict(run, ["ring/gone.png", "bar/00.png"], [3, 0], [3, 0], [0.9, 0.1])
    write_report(runs, "T", ["html"])
    text = (runs / "report.html").read_text()
    assert "no picture &#39;ring/gone.png&#39;" in text
    shutil.rmtree(tmp_path / "tiny" / "pictures")
    write_report(runs, "T", ["html"])
    assert "no such folder (domain Dark of Tiny)" in (runs / "report.html").read_text()


def test_broken_predictions_are_named_and_the_old_page_stays(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=1)
    runs = tmp_path / "runs"
    run = finished(runs, dataset, "lead", "none", 0, [1.0, 2.0])
    write_report(runs, "T", ["html"])
    before = (runs / "report.html").read_text()
    (run.folder / "predictions.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"predictions.npz: cannot be read"):
        write_report(runs, "T", ["html"])
    assert (runs / "report.html").read_text() == before


def test_pda_has_no_unknowns_to_show(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=1)
    runs = tmp_path / "runs"
    run = finished(runs, dataset, "lead", "none", 0, [1.0, 2.0], scenario="pda")
    predict(run, ["bar/00.png", "disc/00.png"], [0, 2], [0, 4], [0.1, 0.2])
    write_report(runs, "T", ["html"])
    page = Page((runs / "report.html").read_text())
    assert "tiny_pda-confusion" in page.ids
    assert not {"tiny_pda-scores", "tiny_pda-samples"} & set(page.ids)


def test_a_kept_experiment_gives_the_command(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=1)
    runs = tmp_path / "runs"
    run = finished(runs, dataset, "lead", "none", 0, [1.0, 2.0])
    (run.folder / "experiment.yaml").write_text(yaml.safe_dump({"seed": 17}))
    write_report(runs, "T", ["html"])
    text = (runs / "report.html").read_text()
    name = run.folder.name
    assert f"uda train {name}.yaml\nuda adapt {name}.yaml" in text
    assert "seed: 17" in text


def test_figures_take_the_pages_colours():
    figure, (axes,) = make_axes(1, 1, 2, 2)
    axes.set_title("one")
    axes.plot([0, 1], [0, 1], color="#0072B2")
    svg = as_svg(figure, 'a "label"')
    assert svg.startswith("<svg role=")
    assert 'aria-label="a &quot;label&quot;"' in svg
    assert "currentColor" in svg
    assert "var(--blue)" in svg
    assert "#1c1d20" not in svg.lower()
    assert "font-family" not in svg
    assert "DejaVu" not in svg


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1600, 500])
def test_nothing_is_wider_than_the_window(made, text, tmp_path, width):
    page = tmp_path / "page.html"
    script = "const d = document.documentElement; d.dataset.w = d.scrollWidth + ' ' + innerWidth;"
    page.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={width},900",
    ]
    shown = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60
    ).stdout
    content, window = map(int, re.search(r'data-w="(\d+) (\d+)"', shown).groups())
    assert content <= window
    picture = tmp_path / "shot.png"
    subprocess.run(
        [*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=60
    )
    with Image.open(picture) as drawn:
        assert np.asarray(drawn.convert("L")).std() > 5
