"""scripts/fill_results.py, and that docs/results.md is as it makes it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.made_runs import PAIRS, finished
from helpers.tiny import make_dataset

from uda.sweeps.packing import pack
from uda.sweeps.record import Expected, write_plan

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "fill_results.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fill_results", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packed(tmp_path):
    dataset = make_dataset(tmp_path, per_class=1)
    runs = [
        finished(tmp_path / "runs", dataset, "lead", augment, 0, [40.0, score], pair)
        for pair in PAIRS
        for augment, score in (("none", 50.0), ("genmix", 55.0), ("mixup", 45.0))
    ]
    expected = [
        Expected(
            *(source, target, f"{source[:2]}2{target[:2]}", "opda", "", "", title, 0, run.folder),
            *("tiny", "shared"),
        )
        for run in runs
        for source, target in [(run.config["source"]["data"]["source"], run.config["target"])]
        for title in [
            "LEAD" if run.config["source"]["augment"]["name"] == "none" else "LEAD + GenMix"
        ]
        if run.config["source"]["augment"]["name"] != "mixup"
    ]
    write_plan(tmp_path / "runs", "ours", {"data": {"dataset": str(dataset)}}, expected)
    pack([tmp_path / "runs"], tmp_path / "all.jsonl")
    return tmp_path


def test_blocks_are_filled_and_the_rest_stays(script, packed):
    text = "A\n<!-- table: all ours h_score -->\nold\n<!-- end -->\nB\n"
    made = script.filled(text, packed)
    assert made.startswith("A\n<!-- table: all ours h_score -->\n#### Tiny, OPDA: H-score\n")
    assert made.endswith("<!-- end -->\nB\n")
    assert "| LEAD | 50.0 | 50.0 | 50.0 |" in made
    assert "| LEAD + GenMix | **55.0** | **55.0** | **55.0** |" in made
    assert "Mixup" not in made  # no run of that sweep
    assert "old" not in made
    assert script.filled(made, packed) == made


def test_pairs_left_out_and_unknown_tables(script, packed):
    block = "<!-- table: all ours {} -->\n<!-- end -->"
    made = script.filled(block.format("difference without=Pl2Da"), packed)
    assert "| LEAD + GenMix − LEAD | +5.0 | 1 of 1 pair |" in made
    with pytest.raises(ValueError, match="sweep ours makes no table 'top1'"):
        script.filled(block.format("top1"), packed)
    with pytest.raises(ValueError, match="no sweep 'theirs'"):
        script.filled("<!-- table: all theirs h_score -->\n<!-- end -->", packed)


TABLE = "<!-- table: a b c -->\n| LEAD | 50.3 | 4.0 ± 1.2 |\nNotes of 9.9.\n<!-- end -->"


@pytest.mark.parametrize(
    ("sentence", "missing"),
    [
        ("H is 50.3 here, +4.0 above.", []),
        ("H is 50.4 here.", ["50.4"]),
        ("H is 50.3, and 20.5 [elsewhere](#second-part).", []),
        ("H is 20.5 here.", ["20.5"]),
        ("H is 9.9, as the notes say.", ["9.9"]),
        ("From −1.3 to +2.9.", ["−1.3", "+2.9"]),
        ("Version 1.2.3, 1,239.5 and CC-BY 4.1, `a=0.5`.", []),
        ("```bash\nrate 0.7\n```", []),
    ],
)
def test_figures_in_sentences_stand_in_a_table_of_the_section(script, sentence, missing):
    page = f"# Page\n\n## First\n\n{sentence}\n\n{TABLE}\n\n## Second part?\n\n| a | 20.5 |\n"
    lines = script.unsupported({"docs/page.md": page}, "docs/page.md")
    assert [line.split()[1] for line in lines] == missing


def test_a_figure_may_stand_on_the_page_that_is_linked(script):
    pages = {
        "docs/page.md": "## Part\n\n| LEAD | 50.3 |",
        "README.md": "50.3 and 60.2 ([all](docs/page.md#part))",
    }
    assert [line.split()[1] for line in script.unsupported(pages, "README.md")] == ["60.2"]


@pytest.mark.slow
def test_the_repositorys_page_is_as_made():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
