import csv
from dataclasses import replace

import pytest
import yaml
from helpers.in_domain_runs import finished
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main
from uda.reports.in_domain import comparisons, overheads
from uda.reports.tables.in_domain import in_domain_table
from uda.sweeps.record import Expected


def in_domain_tables(runs, expected=()):
    return [in_domain_table(comparison) for comparison in comparisons(runs, expected)]


def genmix(**options):
    return {"name": "genmix", "copies": 1, "options": {"prompts": "in-domain", **options}}


def text(line):
    return [line.title, *(cell.text for cell in line.cells)]


def test_rows_means_and_overheads(tmp_path):
    runs = [finished(tmp_path, 50 + seed, seed, seconds=10.0) for seed in (0, 1)]
    runs += [
        finished(tmp_path, 60 + seed, seed, genmix(), seconds=12.0 + seed, edits=33.0 * seed)
        for seed in (0, 1)
    ]
    (table,) = in_domain_tables(runs)
    assert table.title == "Flowers-102, in one domain"
    plain, mixed = (text(line) for line in table.lines)
    assert plain == [
        "None", "50.5 ± 0.7", "90.0 ± 0.0", "5.0 ± 0.0", "60.0 ± 0.0", "80.0 ± 0.0",
        "20.0 ± 0.0", "–", "–", "0 1",
    ]  # fmt: skip
    assert mixed[0] == "GenMix"
    assert mixed[-3:] == ["25.0 ± 7.1", "33", "0 1"]
    assert [line.cells[0].best for line in table.lines] == [False, True]
    assert "30 held-out pictures" in table.notes[0]


def test_equal_as_shown_is_equally_good_and_other_seeds_are_not_compared(tmp_path):
    runs = [finished(tmp_path, 52.31), finished(tmp_path, 52.34, augment=genmix())]
    (table,) = in_domain_tables(runs)
    assert [line.cells[0].best for line in table.lines] == [True, True]
    runs.append(finished(tmp_path, 60.0, 1))
    (table,) = in_domain_tables(runs)
    assert not any(cell.best for line in table.lines for cell in line.cells)


def test_the_papers_results_stand_beside_and_its_fgsm_does_not(tmp_path):
    run = finished(tmp_path)
    (table,) = in_domain_tables([run])
    assert not table.published  # no recipe of the paper's

    def beside(number):
        name = "Flowers-102"
        made = Expected(name, "", name, "", "", "", "", 0, run.folder, "flowers_102", "shared")
        (table,) = in_domain_tables([run], [replace(made, sweep="s", published=number)])
        assert f"Table {number} of" in table.published_source
        assert "2412.02366" in table.published_source
        return {line.title: text(line)[1:] for line in table.published}

    assert beside(4)["GenMix"] == ["98.3", *["–"] * 8]
    assert beside(10)["hybrid+fractal"][:3] == ["80.3", "95.5", "–"]
    assert beside(11)["Mixup+GenMix"][0] == "80.2"  # of no dataset that the paper names
    assert "vertical" in beside(12)
    run.log(kind="validate", epoch=1, top1=1.0)
    run.log(kind="validate", epoch=2, top1=55.5)  # the epoch of the result
    assert beside(5)["GenMix"][:4] == ["74.3", "–", "77.2", "–"]
    (table,) = in_domain_tables([run])
    assert table.columns[2] == "validation"
    assert text(table.lines[0])[3] == "55.5"


def test_what_a_sweep_has_not_yet_is_said(tmp_path):
    run = finished(tmp_path)
    other = finished(tmp_path, images_per_class=10)

    def wanted(folder, title, seed, sweep):
        name = "Flowers-102"
        return Expected(
            name, "", name, "", "", title, title, seed, folder, "flowers_102", "shared", sweep
        )

    expected = [
        wanted(run.folder, "", 0, "few"),
        wanted(tmp_path / "a", "", 1, "few"),
        wanted(tmp_path / "b", "PixMix", 0, "few"),
        wanted(tmp_path / "c", "PixMix", 1, "few"),
        wanted(other.folder, "", 0, "all"),
        wanted(tmp_path / "d", "Mixup", 0, "elsewhere"),
    ]
    first, second = in_domain_tables([run, other], expected)
    assert first.notes[1:] == ("Not there: None seed 1; PixMix seeds 0 1.",)
    assert second.notes[1:] == ()


def test_rows_that_sweeps_disagree_about_are_called_what_they_are(tmp_path):
    plain, mixed = finished(tmp_path), finished(tmp_path, augment=genmix())

    def wanted(run, title, *others):
        name = "Flowers-102"
        about = name, "", name, "", "", title, title, 0, run.folder, "flowers_102", "shared"
        return Expected(*about, other_titles=others)

    expected = [wanted(mixed, "hybrid + fractal"), wanted(plain, "input", "None")]
    (compared,) = comparisons([plain, mixed], expected)
    assert list(compared.rows) == ["hybrid + fractal", "None"]


def test_settings_are_tables_and_options_rows(tmp_path):
    runs = [
        finished(tmp_path),
        finished(tmp_path, augment=genmix(join="mixup")),
        finished(tmp_path, augment=genmix(join="seam")),
        finished(tmp_path, images_per_class=10),
    ]
    tables = {table.title: table for table in in_domain_tables(runs)}
    assert tables.keys() == {
        "Flowers-102, in one domain",
        "Flowers-102, in one domain (images_per_class=10)",
    }
    first = tables["Flowers-102, in one domain"]
    assert [line.title for line in first.lines] == [
        "None", "GenMix (join=mixup)", "GenMix (join=seam)"
    ]  # fmt: skip
    folder = runs[1].folder
    about = (
        "Flowers-102",
        "",
        "Flowers",
        "",
        "",
        "Mixup + GenMix",
        "train + Mixup + GenMix",
        0,
        folder,
        "flowers_102",
        "shared",
    )
    named = in_domain_tables(runs, [Expected(*about)])
    assert "Mixup + GenMix" in [line.title for table in named for line in table.lines]


def test_runs_of_other_classes_are_another_table(tmp_path):
    runs = [finished(tmp_path, 50.0 + k, classes=name) for k, name in enumerate(("aa", "bb"))]
    tables = in_domain_tables(runs)
    titles = [f"Flowers-102, in one domain (classes={name})" for name in ("aa", "bb")]
    assert [table.title for table in tables] == titles
    assert [text(table.lines[0])[1] for table in tables] == ["50.0", "51.0"]


def test_two_sweeps_may_call_different_things_the_same(tmp_path):
    runs = [finished(tmp_path, augment=genmix(edits=n)) for n in (6, 1)]
    runs.append(finished(tmp_path, augment=genmix(edits=6, fractal=0)))
    expected = [
        Expected("F", "", "F", "", "", title, title, 0, run.folder, "flowers_102", "shared")
        for run, title in zip(runs, ("GenMix", "GenMix", "no fractal"), strict=True)
    ]
    (table,) = in_domain_tables(runs, expected)
    titles = [line.title for line in table.lines]
    assert len(set(titles)) == 3
    assert "no fractal" in titles
    assert "GenMix (edits=1)" in titles


def test_an_overhead_needs_the_plain_run_of_its_seed(tmp_path):
    plain = finished(tmp_path, seconds=8.0)
    runs = [finished(tmp_path, seed=seed, augment=genmix(), seconds=10.0) for seed in (0, 1)]
    assert overheads(runs, {0: plain}) == [pytest.approx(25)]
    assert overheads(runs, {}) == []


@pytest.mark.slow
def test_the_report_of_a_folder_of_in_domain_runs(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny")
    for augment in ("none", "mixup", "genmix"):
        flags = ["--data.scenario=", f"--augment.name={augment}", "--seed=1"]
        assert main(["train", *arguments(dataset, tmp_path / "runs", *flags)]) == 0
    said = capsys.readouterr().out
    for words in ("48 images seen, 0 of them augmented", "every batch under mixup"):
        assert words in said
    assert main(["report", str(tmp_path / "runs"), "--title=Tiny"]) == 0
    printed = capsys.readouterr().out
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "3 finished runs" in page
    assert "<caption>Tiny, Plain, in one domain</caption>" in page
    assert "top-1 on held-out pictures by training step" in page
    assert page.count("<pre>uda train train-") == 3
    assert "uda adapt" not in page
    table = list(csv.DictReader((tmp_path / "runs" / "tables" / "in_domain.csv").open()))
    assert [line["title"] for line in table] == ["None", "GenMix", "Mixup"]
    assert all(0 < float(line["training_seconds"]) < 60 for line in table)
    report = (tmp_path / "runs" / "report.md").read_text()
    for output in (printed, report, (tmp_path / "runs" / "tables" / "in_domain.tex").read_text()):
        assert all(name in output for name in ("None", "Mixup", "GenMix", "overhead"))
    assert (tmp_path / "runs" / "tables" / "in_domain.md").is_file()


@pytest.mark.slow
def test_a_sweep_in_one_domain_names_the_rows(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny")
    file = tmp_path / "ours.yaml"
    rows = ["none", {"title": "Ours", "name": "mixup", "options": {"mixup": {"alpha": 1.0}}}]
    file.write_text(yaml.safe_dump({"sweep": {"augmentations": rows, "pairs": ["Plain"]}}))
    flags = arguments(dataset, tmp_path / "runs", "--data.scenario=")
    assert main(["sweep", str(file), *flags]) == 0
    assert main(["report", str(tmp_path / "runs")]) == 0
    assert "Ours" in capsys.readouterr().out
