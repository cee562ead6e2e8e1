"""Which runs a setting's table still lacks, and which do not belong together, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from uda.reports.results import Board, Pair, Result, Setting, pairs_of, row_title
from uda.reports.tables.table import seeds_text
from uda.stages.pictures import SOURCE, TARGET
from uda.sweeps.record import Expected

NAMED = 4  # missing pairs of a row that are named one by one

Cells = set[tuple[str, int]]  # (pair's name, seed)


def planned_for(setting: Setting, expected: Sequence[Expected]) -> list[Expected]:
    """Return the ``expected`` runs that belong to the setting's table."""
    spec = setting.spec
    about = (spec.name, setting.scenario, setting.concepts)
    return [
        run
        for run in expected
        if (run.dataset, run.scenario, run.concepts) == about
        and run.target
        and {run.source, run.target} <= spec.domains.keys()
    ]


def pairs_and_gaps(
    setting: Setting, board: Board, expected: Sequence[Expected]
) -> tuple[list[Pair], list[str]]:
    """Return the table's pairs, and a note that names the runs it lacks, if any.

    Each row should have all pairs at each of its seeds, and what a sweep expects of it.
    """
    planned = planned_for(setting, expected)
    pairs = {result.pair for row in board.values() for result in row.results}
    pairs |= {Pair(run.source, run.target, run.pair) for run in planned}
    columns = sorted(pairs, key=setting.order)
    names = [pair.name for pair in columns]
    done = {title: {(r.pair.name, r.seed) for r in row.results} for title, row in board.items()}
    gaps = []
    for title, wanted in _wanted(board, planned, names).items():
        if missing := wanted - done.get(title, set()):
            gaps.append(f"{title}: {describe_gaps(missing, wanted, names)}")
    return columns, [f"Not there: {'; '.join(gaps)}."] if gaps else []


def _wanted(board: Board, planned: Sequence[Expected], pairs: Sequence[str]) -> Mapping[str, Cells]:
    """Return the cells that each row should have."""
    wanted = {
        title: {(pair, seed) for pair in pairs for seed in row.seeds}
        for title, row in board.items()
    }
    by_name: dict[str, list[str]] = {}
    for title, row in board.items():
        by_name.setdefault(row_title(row.method, row.augment), []).append(title)
    for run in planned:
        known = [run.row_title] if run.row_title in board else by_name.get(run.row_title)
        titles = known or [run.row_title]
        if not run.done:  # of several rows of that name it is not known which
            title = titles[0] if len(titles) == 1 else run.row_title
            wanted.setdefault(title, set()).add((run.pair, run.seed))
    return wanted


def describe_gaps(missing: Cells, wanted: Cells, pairs: Sequence[str]) -> str:
    """Return the ``missing`` of a row's ``wanted`` cells in words.

    ``Om2Tw, Om2No seed 2``, or ``8 of 12 pairs (Om2Tw, Om2No, …) and seeds of 2 more``.
    """
    whole, in_part = [], []
    words = []
    for name in pairs:
        seeds = sorted(seed for pair, seed in missing if pair == name)
        if not seeds:
            continue
        if len(seeds) == sum(pair == name for pair, _ in wanted):
            whole.append(name)
            words.append(name)
        else:
            in_part.append(name)
            words.append(f"{name} {seeds_text(seeds)}")
    if len(words) <= NAMED:
        return ", ".join(words)
    parts = []
    if whole:
        named = ", ".join(whole[:NAMED]) + (", …" if len(whole) > NAMED else "")
        parts.append(f"{len(whole)} of {len(pairs)} pairs ({named})")
    if in_part:
        parts.append(f"seeds of {len(in_part)} {'more' if whole else 'pairs'}")
    return " and ".join(parts)


def left_out_note(setting: Setting, board: Board, left_out: Collection[str]) -> list[str]:
    """Return a note that names the setting's pairs that are ``left_out`` of means, if any."""
    names = [pair.name for pair in pairs_of(setting, list(board.values())) if pair.name in left_out]
    return [f"Mean values without {', '.join(names)}."] if names else []


def pictures_note(setting: Setting, results: Iterable[Result]) -> list[str]:
    """Return a note that names the pairs whose runs were not all made of the same pictures."""
    kinds: dict[tuple[Pair, str], set[object]] = {}
    for result in results:
        made_of = result.run.pictures()
        known = {key: made_of.get(key, {}).get("hash") for key in (SOURCE, TARGET)}
        for key, value in {**known, "scored": result.lines[-1].get("num_images")}.items():
            if value is not None:
                kinds.setdefault((result.pair, key), set()).add(value)
    mixed = {pair for (pair, _), values in kinds.items() if len(values) > 1}
    names = [pair.name for pair in sorted(mixed, key=setting.order)]
    return [f"Not all runs are of the same pictures: {', '.join(names)}."] if names else []
