from dataclasses import replace

from helpers.boards import board_of, fill, texts
from helpers.made_runs import PAIRS

from uda.reports.tables.missing import describe_gaps
from uda.reports.tables.scores import score_table
from uda.reports.tables.setting import setting_tables
from uda.sweeps.record import Expected


def test_what_a_sweep_expects_is_missed_by_name(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 10.0})

    def expected(pair, seed, title):
        source, target = PAIRS[pair]
        name = ("Pl2Da", "Da2Pl")[pair]
        folder = runs / f"{title}-{name}-{seed}"
        return Expected(
            source, target, name, "opda", title, "", title, seed, folder, "tiny", "shared"
        )

    plan = [expected(0, 1, "LEAD"), expected(1, 0, "LEAD"), expected(0, 0, "GLC")]
    table = score_table(*board_of(runs), "h_score", plan)
    assert table.columns == ("Pl2Da", "Da2Pl", "average")
    assert texts(table, "LEAD") == ["10.0", "–", "–"]
    assert table.notes[-1] == "Not there: LEAD: Pl2Da seed 1, Da2Pl; GLC: Pl2Da."
    for other in ({"dataset": "other"}, {"concepts": "disjoint"}, {"scenario": "osda"}):
        elsewhere = [replace(run, **other) for run in plan]
        assert score_table(*board_of(runs), "h_score", elsewhere).columns == ("Pl2Da",)
    tables = setting_tables(*board_of(runs), plan)
    assert "h_score" in tables, "a single pair so far, but two are to come"


def test_many_missing_pairs_are_counted():
    names = [f"P{k}" for k in range(12)]
    wanted = {(name, 0) for name in names}
    text = describe_gaps(wanted - {("P0", 0)}, wanted, names)
    assert text == "11 of 12 pairs (P1, P2, P3, P4, …)"
    wanted |= {(name, 1) for name in names}
    missing = {(name, seed) for name, seed in wanted if seed or name in names[:8]}
    text = describe_gaps(missing, wanted, names)
    assert text == "8 of 12 pairs (P0, P1, P2, P3, …) and seeds of 4 more"
    assert describe_gaps({("P1", 0)}, wanted, names) == "P1 seed 0"
