import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from helpers.boards import CALLED, NAMES, SCORE, TRUE
from helpers.made_runs import PAIRS, finished, predict
from helpers.tiny import make_dataset
from PIL import Image

from genmix_aug import lettering
from uda.reports.figures.drawing import as_svg, make_axes, save_png
from uda.reports.writing import write_report
from uda.runs.folder import open_run
from uda.sweeps.record import write_plan

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
SVG = "http://www.w3.org/2000/svg"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The tags of a page, in balance, and what they point to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.fetched, self.alts = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        elif tag in ("img", "link", "image", "use", "source", "iframe") or (
            tag == "script" and "src" in values
        ):
            self.fetched.append(values.get("src") or values.get("href") or values.get("data-src"))
        if tag == "img":
            self.alts.append(values["alt"])

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
                    so_far = scores[:1] if method == "source_only" else scores
                    run = finished(runs, dataset, method, augment, seed, so_far, pair)
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


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert page.fetched
    assert all(address.startswith(("data:", "#")) for address in page.fetched)
    elsewhere = re.findall(r"https?://[^\s\"]+|@import|url\((?!#)", text)
    assert set(elsewhere) <= {SVG}, "but for the name of the figures' format"
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
    texts = re.findall(r'<img src="data:image/webp[^"]*" alt="([^"]*, called [^"]*)"', text)
    # Of each pair: two detected (ring, then the surest of another class), a missed, a rejected.
    assert texts == [
        "ring, called unknown",
        "square, called unknown",
        "ring, called cross",
        "bar, called unknown",
    ] * len(PAIRS)


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


def test_runs_whose_classes_have_changed_are_in_the_tables_and_left_out_of_the_figures(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", per_class=2)
    runs = tmp_path / "runs"
    fits, changed = (finished(runs, dataset, name, "none", 0, [40.0]) for name in ("lead", "glc"))
    for run in (fits, changed):
        predict(run, NAMES, TRUE, CALLED, SCORE)
    changed.save_classes(["bar", "zebra", "disc"])
    text = write_report(runs, "T")
    line = (
        "Not in the figures, as the dataset's classes have changed: 1 run: "
        f"{changed.folder}: a model with the class 'zebra', where 'cross' is expected"
    )
    assert text.count(line) == 1
    assert line.split("'")[0] in (runs / "report.md").read_text().replace("\\", "")
    page = (runs / "report.html").read_text()
    assert page.count("Not in the figures, as") == 1
    assert "GLC-UDA" in page or "GLC" in page
    assert "whose runs are older than the labels" not in page
    assert page.count("LEAD, seed 0") >= 1


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
    axes.set_title("panel")
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
    dom = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60
    ).stdout
    content, window = map(int, re.search(r'data-w="(\d+) (\d+)"', dom).groups())
    assert content <= window
    picture = tmp_path / "shot.png"
    subprocess.run(
        [*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=60
    )
    with Image.open(picture) as drawn:
        assert np.asarray(drawn.convert("L")).std() > 5


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_click_on_a_column_sorts_its_table(text, tmp_path):
    def column(clicks):
        page = tmp_path / f"{clicks}.html"
        click = 'document.querySelector("th.average button").click();' * clicks
        page.write_text(text.replace("</body>", f"<script>{click}</script></body>"))
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        dom = subprocess.run(
            [*command, page.as_uri()], capture_output=True, text=True, timeout=60
        ).stdout
        body = re.search(r"<tbody>.*?</tbody>", dom, re.DOTALL)[0]
        cells = re.findall(r'<td class="average">(.*?)</td>', body, re.DOTALL)
        return [float(re.search(r"\d+\.\d", cell)[0]) for cell in cells]

    before = column(0)
    assert len(set(before)) > 1
    assert column(1) == sorted(before, reverse=True)
    assert column(2) == sorted(before)
    assert column(3) == before


def test_names_without_a_font_are_numbers_and_a_line_below_the_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(lettering, "_fonts", list)
    figure, (axes,) = make_axes(1, 1, 2, 2)
    axes.set_title("猫 → 犬\nplain $x_1$")
    axes.set_yticks([0, 1], ["猫2犬", "Tw2Fl"])
    lines = save_png(figure, tmp_path / "x.png")
    assert lines == ["Names for whose letters no font is installed: [1] 猫 → 犬, [2] 猫2犬"]
    assert axes.get_title() == "[1]\nplain $x_1$"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["[2]", "Tw2Fl"]


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize("name", ["猫", "$x_1$", "a $ b", ' version="', "#0072B2"])
def test_a_page_has_names_as_they_are(name):
    figure, (axes,) = make_axes(1, 1, 2, 2)
    axes.set_title(name)
    axes.set_yticks([0], [name])
    svg = as_svg(figure, "label")
    texts = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert texts.count(name) == 2
