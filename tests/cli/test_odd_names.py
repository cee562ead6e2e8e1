"""Folders and files with names that people and strangers give them, from training to the report."""

import csv
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.tiny import draw

from genmix_aug import lettering
from uda.cli.main import main
from uda.runs.folder import find_runs

LATIN = os.fsdecode(b"b\xe9r")  # bytes of no encoding
MARKUP = '<script>alert(1)<"&\'b> version="'
CLASSES = {LATIN: "bar", MARKUP: "cross", "猫 $x_1$\r" + "x" * 220: "disc"}
FILE = os.fsdecode(b"caf\xe9\r<img src=x onerror=alert(1)>%d.png")


def tree(root, classes, dark):
    """Draw five pictures of each class."""
    for name, shape in classes.items():
        (root / name).mkdir(parents=True)
        rng = np.random.default_rng(len(name))
        for number in range(5):
            draw(shape, rng, dark, 32).save(root / name / (FILE % number), "PNG")
    return root


@pytest.fixture
def small(flags):
    return [flag for flag in flags if not flag.startswith("--data.")]


class Tags(HTMLParser):
    """Collects a page's tags, and attributes that would run something."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.harmful = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.harmful += [name for name, _ in attributes if name.startswith("on")]


@pytest.mark.filterwarnings("error:Glyph")
def test_from_two_folders_to_the_page(tmp_path, runs, small, capsys, monkeypatch):
    monkeypatch.setattr(lettering, "_fonts", list)
    source = tree(tmp_path / "source <b>", CLASSES, dark=False)
    target = tree(tmp_path / "target 猫", {**CLASSES, "<i>new": "ring"}, dark=True)
    folders = [f"--source={source}", f"--target={target}"]
    assert main(["run", *folders, *small, "--adapt.method=source_only"]) == 0
    printed = capsys.readouterr().out
    assert r"b\udce9r" in printed
    assert not re.search(r"[\r\x1b\ud800-\udfff]", printed)
    adapted = next(run for run in find_runs(runs) if run.is_adaptation)
    assert set(adapted.classes()) == set(CLASSES)
    with open(adapted.answers_csv, encoding="utf-8", errors="surrogateescape", newline="") as file:
        paths = {row["path"] for row in csv.DictReader(file)}
    assert paths == {str(path) for path in target.rglob("*.png")}
    assert main(["report", str(runs), "--title=<script>", "--formats=html,csv"]) == 0
    page = (runs / "report.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert not tags.harmful
    assert "iframe" not in tags.tags
    assert page.count("<script") == 1, "the page's own"
    assert page.index("<script>\n// Sorting") > page.rindex("</main>")
    assert {"svg", "img"} <= tags.tags  # of names as they are, and of sample pictures
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert r"b\udce9r" in page
    assert "$x_1$" in page


def test_one_domain_is_trained_and_answers_for_every_picture(tmp_path, runs, small, capsys):
    images = tree(tmp_path / "images", CLASSES, dark=False)
    domain = ["--data.dataset", str(images), "--train.robustness=false", "--train.steps=2"]
    assert main(["train", *small, *domain]) == 0
    (run,) = find_runs(runs)
    assert run.classes() == tuple(sorted(CLASSES))
    out = tmp_path / "out.csv"
    capsys.readouterr()
    assert main(["predict", str(run.folder), str(images), "--out", str(out)]) == 0
    assert "15 pictures" in capsys.readouterr().out
    assert main(["evaluate", str(run.folder), "--per-class"]) == 0
    assert r"b\udce9r" in capsys.readouterr().out


def test_a_line_end_in_a_name_that_a_list_cannot_hold_is_refused(tmp_path, small, fails_with):
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        draw("bar", np.random.default_rng(0), False, 32).save(
            tmp_path / "images" / name / "a\nb.png", "PNG"
        )
    fails_with(
        ["train", *small, "--data.dataset", str(tmp_path / "images")], r"a\nb.png", "rename it"
    )


def test_home_is_meant_in_every_option(tmp_path, small, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "images", {"a": "bar", "b": "cross"}, dark=False)
    domain = ["--data.dataset=~/images", "--train.robustness=false", "--train.steps=2"]
    (tmp_path / "x.yaml").write_text("runs: ~/here\ncompute: {cache: ~/cache}\n")
    small = [flag for flag in small if not flag.startswith("--runs")]
    assert main(["train", "--config=~/x.yaml", *small, *domain]) == 0
    (run,) = find_runs(tmp_path / "here")
    command = ["predict", f"~/here/{run.folder.name}", "~/images", "--out=~/out.csv"]
    assert main([*command, "--sheet=~/sheet.png"]) == 0
    (tmp_path / "list.txt").write_text("~/images/a/x.png\n")
    assert main(["predict", command[1], "~/list.txt"]) == 1
    assert f"{tmp_path}/images/a/x.png: no such file" in capsys.readouterr().err
    assert (tmp_path / "out.csv").is_file()
    assert not (tmp_path / "~").exists()
