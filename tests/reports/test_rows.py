import re
from dataclasses import replace

from helpers.boards import board_of, fill
from helpers.made_runs import PAIRS, finished

from uda.reports.results import row_title
from uda.reports.rows import boards
from uda.reports.tables.scores import score_table
from uda.sweeps.record import Expected


def test_row_titles():
    assert row_title("source_only", "none") == "Source-only"
    assert row_title("source_only", "genmix") == "Source + GenMix"
    assert row_title("lead", "none") == "LEAD"
    assert row_title("lead", "genmix") == "LEAD + GenMix"


def test_rows_are_by_method_and_in_the_order_of_the_runs(runs, dataset):
    names = ("mixup", "genmix", "none", "cutmix")
    made = [finished(runs, dataset, m, a, 0, [1.0]) for m in ("lead", "source_only") for a in names]
    (board,) = boards(made).values()
    assert list(board) == [
        *("Source-only", "Source + Mixup", "Source + GenMix", "Source + CutMix"),
        *("LEAD", "LEAD + Mixup", "LEAD + GenMix", "LEAD + CutMix"),
    ]


def test_rows_are_called_what_their_sweep_calls_them(runs, dataset):
    def planned(run, pair, title):
        source, target = PAIRS[pair]
        name = ("Pl2Da", "Da2Pl")[pair]
        return Expected(
            source, target, name, "opda", "LEAD", "", title, 0, run.folder, "tiny", "shared"
        )

    slow = finished(runs, dataset, "lead", "none", 0, [1.0, 8.0], rate=0.1)
    fast = finished(runs, dataset, "lead", "none", 0, [1.0, 9.0], rate=0.2)
    later = replace(planned(fast, 1, "LEAD (fast)"), run_folder=runs / "later")
    plan = [planned(slow, 0, "LEAD"), planned(fast, 0, "LEAD (fast)"), later]
    ((setting, board),) = boards([slow, fast], plan).items()
    assert list(board) == ["LEAD", "LEAD (fast)"]
    table = score_table(setting, board, "h_score", plan)
    assert table.notes[-1] == "Not there: LEAD: Da2Pl; LEAD (fast): Da2Pl."
    # Where two sweeps call different things the same, they are distinguished as without a sweep.
    same = [replace(run, row_title="LEAD") for run in plan]
    ((_, board),) = boards([slow, fast], same).items()
    assert list(board) == ["LEAD (adapt.rate=0.1)", "LEAD (adapt.rate=0.2)"]


def test_what_most_variants_share_goes_without_saying(runs, dataset):
    for augment in ({}, {"prompts": "in-domain"}, {"weight": 0.5}):
        options = {"prompts": "cross-domain", "weight": 0.2, **augment}
        source = {"augment": {"name": "genmix", "options": options}}
        finished(runs, dataset, "lead", "genmix", 0, [1, 2], source=source)
    assert set(board_of(runs)[1]) == {
        "LEAD + GenMix",
        "LEAD + GenMix (prompts=in-domain)",
        "LEAD + GenMix (weight=0.5)",
    }


def test_no_row_is_lost_where_settings_are_left_out_at_their_defaults(runs, dataset):
    cosine = {"split": "cosine"}
    finished(runs, dataset, "lead", "none", 0, [1.0, 50.0], options=cosine)
    finished(runs, dataset, "lead", "none", 0, [1.0, 60.0], options=cosine, rate=0.2)
    finished(runs, dataset, "lead", "none", 0, [1.0, 70.0])  # norm, which goes without saying
    board = board_of(runs)[1]
    scores = {title: row.results[0].score("h_score") for title, row in board.items()}
    assert scores == {
        "LEAD": 70.0,
        "LEAD (split=cosine)": 50.0,
        "LEAD (split=cosine, adapt.rate=0.2)": 60.0,
    }


def test_what_all_share_is_named_where_it_is_unusual(runs, dataset):
    finished(runs, dataset, "lead", "none", 0, [1.0, 50.0], options={"split": "cosine"})
    assert list(board_of(runs)[1]) == ["LEAD (split=cosine)"]


def test_other_sources_are_named_over_the_whole_table(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, seed): 1.0 for seed in (0, 1)})
    fill(runs, dataset, {("glc", "none", 0, 0): 1.0})
    wide = {"images": {"crop_px": 96}}
    finished(runs, dataset, "source_only", "genmix", 0, [1.0], source=wide)
    assert list(board_of(runs)[1]) == ["Source + GenMix (crop_px=96)", "GLC", "LEAD"]


def test_what_only_augmented_sources_have_is_not_named(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 1.0})
    source = {"train": {"rate": 1.0, "budget": "steps"}}
    finished(runs, dataset, "lead", "genmix", 0, [1, 2], source=source)
    assert list(board_of(runs)[1]) == ["LEAD", "LEAD + GenMix"]


def test_rows_that_nothing_tells_apart_have_their_hash(runs, dataset):
    for source in ({"a": 1, "x": 1}, {"a": 2, "x": 1}, {"a": 1}):
        finished(runs, dataset, "lead", "none", 0, [1, 2], source=source)
    first, *others = sorted(board_of(runs)[1])
    assert first == "LEAD (a=2)"
    assert all(re.fullmatch(r"LEAD \[[0-9a-f]{10}\]", title) for title in others)


def test_source_models_of_a_row_may_be_separate_files(runs, dataset):
    for pair, file in zip(PAIRS, "ab", strict=True):
        source = {"augment": {"name": "checkpoint", "file": file}}
        finished(runs, dataset, "lead", "checkpoint", 0, [1, 2], pair, source=source)
    assert list(board_of(runs)[1]) == ["LEAD, from a given checkpoint"]
    source = {"augment": {"name": "checkpoint", "file": "c"}}
    finished(runs, dataset, "lead", "checkpoint", 0, [1, 2], PAIRS[0], source=source)
    assert len(board_of(runs)[1]) == 3, "two of a pair and seed differ in their files"
