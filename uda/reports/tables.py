"""Results -> the papers' tables: means over seeds, averages over pairs, paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence

from uda.evaluation.metrics import SCORES
from uda.reports.cells import Cell, Line, Table, cells_of, mean_and_deviation, seeds_text
from uda.reports.differences import differences, interval_text, signed
from uda.reports.published import Published, published
from uda.reports.results import Board, Pair, Row, Setting, pairs_of, row_title
from uda.sweeps.record import Expected

TRADED = ("known_acc", "unknown_acc")  # one is had at the price of the other: neither has a best
NAMED = 4  # missing pairs of a row that are named one by one


def averages(row: Row, pairs: Sequence[Pair], score: str) -> dict[int, float]:
    """The mean over ``pairs`` of each seed of ``row`` that has all of them, defined."""
    values = row.values(score)
    found = {}
    for seed in row.seeds:
        own = [values.get((pair, seed), math.nan) for pair in pairs]
        if own and not any(math.isnan(value) for value in own):
            found[seed] = statistics.fmean(own)
    return found


def score_table(
    setting: Setting,
    board: Board,
    score: str,
    expected: Sequence[Expected] = (),
    left_out: Collection[str] = (),
) -> Table:
    """One score in percent at the last epoch: a line a row, a column a pair, then the average.

    A cell is the mean ± sample deviation over seeds; the best is marked where all have the same
    seeds. The average is taken over pairs in each seed first, then over seeds; only seeds that have
    all pairs count, and where none has it is "–". ``expected`` runs of a sweep that are not done
    add their pairs, and are named below. Pairs whose names are ``left_out`` stand in the table and
    take no part in its average.
    """
    pairs, missing = _missing(setting, board, expected)
    columns = [[_values(row, pair, score) for row in board.values()] for pair in pairs]
    behind = [[[r.seed for r in row.at(pair)] for row in board.values()] for pair in pairs]
    seeds = seeds_text(seed for row in board.values() for seed in row.seeds)
    notes = [
        f"Last epoch, in percent; mean ± standard deviation over seeds ({seeds}). The average is"
        " over pairs in each seed, then over seeds."
    ]
    if len(pairs) > 1:
        counted = [pair for pair in pairs if pair.name not in left_out]
        complete = [averages(row, counted, score) for row in board.values()]
        columns.append([list(own.values()) for own in complete])
        behind.append([list(own) for own in complete])
        notes += [
            f"{row.title}: average over {seeds_text(own)} alone: the others lack pairs."
            for row, own in zip(board.values(), complete, strict=True)
            if own and list(own) != row.seeds
        ]
        notes += _left_out_note(setting, board, left_out)
    notes += missing
    cells = [
        cells_of(column, mark=score not in TRADED and _comparable(own))
        for column, own in zip(columns, behind, strict=True)
    ]
    everyone = {seed for row in board.values() for seed in row.seeds}
    notes += [
        f"{row.title}: {seeds_text(row.seeds)} alone."
        for row in board.values()
        if set(row.seeds) != everyone
    ]
    lines = [
        Line(title, tuple(column[place] for column in cells)) for place, title in enumerate(board)
    ]
    names = [pair.name for pair in pairs]
    heads = [*names, "average"] if len(pairs) > 1 else names
    print_of = published(setting.dataset, setting.scenario)
    if print_of is None or print_of.metric != score:
        return Table(_titled(setting, score), tuple(heads), tuple(lines), tuple(notes))
    own = [name for name in names if name in print_of.pairs and name not in left_out]
    if partly := len(pairs) > 1 and 0 < len(own) < len(print_of.pairs):
        notes.append("Published averages over the same pairs, from the published values.")
    return Table(
        _titled(setting, score),
        tuple(heads),
        tuple(lines),
        tuple(notes),
        _published_lines(print_of, heads, own if partly else ()),
        print_of.source,
    )


def _comparable(seeds: Sequence[Sequence[int]]) -> bool:
    """Whether rows of these seeds, none for no run, are means over the same ones: over others they
    are of other runs, and none of them is the best."""
    return len({tuple(own) for own in seeds if own}) < 2


def summary_table(
    setting: Setting, board: Board, scores: Sequence[str], left_out: Collection[str] = ()
) -> Table:
    """`averages` over all pairs but those ``left_out``: a line a row, a column a score."""
    pairs = [pair for pair in pairs_of(setting, list(board.values())) if pair.name not in left_out]
    by_seed = [[averages(row, pairs, score) for row in board.values()] for score in scores]
    found = [[list(own.values()) for own in column] for column in by_seed]
    same = _comparable([list(own) for own in by_seed[0]])
    cells = [
        cells_of(column, mark=same and score not in TRADED)
        for score, column in zip(scores, found, strict=True)
    ]
    lines = [
        Line(title, tuple(column[place] for column in cells)) for place, title in enumerate(board)
    ]
    seeds = seeds_text(seed for row in board.values() for seed in row.seeds)
    note = (
        f"Averages over {len(pairs)} pairs in each seed, then mean ± standard deviation over seeds"
        f" ({seeds}); last epoch, in percent."
        + (" Rows without a figure lack pairs." if [] in found[0] else "")
    )
    return Table(
        f"{setting.title}: averages over pairs",
        tuple(SCORES[score] for score in scores),
        tuple(lines),
        (note, *_left_out_note(setting, board, left_out)),
    )


def pair_table(setting: Setting, board: Board, pair: Pair, brief: bool = False) -> Table:
    """All scores of one pair: a line a row, a column a score, then the oracle's and the seeds.
    ``brief``: of the scores the main one, and what it is made of."""
    main = setting.main_score
    rows = [row for row in board.values() if row.at(pair)]
    scores = [  # not what runs from before it was kept lack
        score
        for score in setting.scores[: 3 if brief else None]
        if score == main
        or not all(math.isnan(v) for row in rows for v in _values(row, pair, score))
    ]
    same = _comparable([[result.seed for result in row.at(pair)] for row in rows])
    columns = [
        cells_of([_values(row, pair, score) for row in rows], same and score not in TRADED)
        for score in scores
    ]
    oracle = [[result.oracle(main) for result in row.at(pair)] for row in rows]
    columns.append(
        [Cell("–" if all(map(math.isnan, own)) else mean_and_deviation(own)) for own in oracle]
    )
    columns.append([Cell(" ".join(str(r.seed) for r in row.at(pair))) for row in rows])
    heads = [*(SCORES[score] for score in scores), f"oracle {SCORES[main]}", "seeds"]
    notes = [
        "Last epoch, in percent; mean ± standard deviation over several seeds. The oracle picks"
        " each run's best epoch by target labels: nobody can have it."
    ]
    empty = {
        name
        for row in rows
        for result in row.at(pair)
        for name in result.lines[-1].get("empty_classes", [])
    }
    if empty:
        notes.append(f"Shared classes without a picture, left out: {', '.join(sorted(empty))}.")
    lines = tuple(
        Line(row.title, tuple(column[place] for column in columns))
        for place, row in enumerate(rows)
    )
    print_of = published(setting.dataset, setting.scenario)
    above: tuple[Line, ...] = ()
    if print_of and pair.name in print_of.pairs:
        rest = (Cell("–"),) * (len(heads) - 1)
        above = tuple(
            Line(name, (Cell(f"{values[pair.name]:.1f}"), *rest))
            for name, values in print_of.values.items()
        )
    title = f"{setting.spec.title}, {pair.source} → {pair.target}, {setting.scenario.upper()}"
    if setting.concepts == "disjoint":
        title += ", no picture's concept in both"
    source = print_of.source if print_of else ""
    return Table(title, tuple(heads), lines, tuple(notes), above, source)


def oracle_table(setting: Setting, board: Board) -> Table:
    """The main score at each run's best epoch by target labels, as `score_table` has the last."""
    pairs = pairs_of(setting, list(board.values()))
    rows = [row for row in board.values() if any(len(result.lines) > 1 for result in row.results)]
    lines = []
    for row in rows:
        cells = [[result.oracle(setting.main_score) for result in row.at(pair)] for pair in pairs]
        lines.append(Line(row.title, tuple(Cell(mean_and_deviation(own)) for own in cells)))
    note = "Each run's best epoch, chosen by target labels: nobody can have it."
    return Table(
        f"{setting.title}: oracle {SCORES[setting.main_score]}",
        tuple(pair.name for pair in pairs),
        tuple(lines),
        (note,),
    )


def difference_table(
    setting: Setting, board: Board, score: str, left_out: Collection[str] = ()
) -> Table | None:
    """`differences` as a table; None where there is nothing to compare."""
    found = differences(board, score, left_out)
    if not found:
        return None
    heads = ("mean", "95 %, over pairs", "95 %, over seeds", "better in", "by seed")
    rows = [
        (
            signed(one.mean),
            interval_text(list(one.pair_means.values())),
            interval_text(list(one.seed_means.values())),
            one.better,
            " ".join(map(signed, one.seed_means.values())) if len(one.seed_means) > 1 else "–",
        )
        for one in found
    ]
    kept = [place for place in range(len(heads)) if any(row[place] != "–" for row in rows)]
    lines = [
        Line(one.title, tuple(Cell(row[place]) for place in kept))
        for one, row in zip(found, rows, strict=True)
    ]
    notes = ["Of runs of the same pair and seed, in points of the score."]
    notes += _left_out_note(setting, board, left_out)
    if 1 in kept:
        notes.append(
            "Interval over pairs: Student's t, n the number of pairs; each pair's mean over its"
            " seeds is one value."
        )
    if 2 in kept:
        notes.append(
            "Interval over seeds: Student's t, n the number of seeds; each seed's mean over all"
            " pairs, as it stands in the last column, is one value."
        )
    notes += [
        f"{one.title}: not all pairs have the same seeds; the mean is over all that there are, by"
        f" seed over {seeds_text(one.seed_means) if one.seed_means else 'none'}."
        for one in found
        if any(set(own) != set(one.seed_means) for own in one.by_pair.values())
    ]
    title = f"{setting.title}: difference in {SCORES[score]}"
    return Table(title, tuple(heads[place] for place in kept), tuple(lines), tuple(notes))


def _left_out_note(setting: Setting, board: Board, left_out: Collection[str]) -> list[str]:
    own = [pair.name for pair in pairs_of(setting, list(board.values())) if pair.name in left_out]
    return [f"Mean values without {', '.join(own)}."] if own else []


def _titled(setting: Setting, score: str) -> str:
    names = {"known_acc": "known accuracy", "unknown_acc": "unknown accuracy"}
    return f"{setting.title}: {names.get(score, SCORES[score])}"


def _values(row: Row, pair: Pair, score: str) -> list[float]:
    """Of the runs that have kept the score; NaN where it is undefined."""
    return [result.score(score) for result in row.at(pair) if score in result.lines[-1]]


def _published_lines(
    print_of: Published, heads: Sequence[str], averaged: Sequence[str] = ()
) -> tuple[Line, ...]:
    """The paper's rows; their average as printed, or over the pairs ``averaged`` where some are."""
    lines = []
    for name, values in print_of.values.items():
        average = print_of.averages[name]
        if averaged:
            average = statistics.fmean(values[pair] for pair in averaged)
        row = {**values, "average": average}
        cells = tuple(Cell(f"{row[head]:.1f}" if head in row else "–") for head in heads)
        lines.append(Line(name, cells))
    return tuple(lines)


def planned_for(setting: Setting, expected: Sequence[Expected]) -> list[Expected]:
    """What sweeps expect of a setting's table."""
    spec = setting.spec
    about = (spec.name, setting.scenario, setting.concepts)
    return [
        one
        for one in expected
        if (one.dataset, one.scenario, one.concepts) == about
        and one.target
        and {one.source, one.target} <= spec.domains.keys()
    ]


def _missing(
    setting: Setting, board: Board, expected: Sequence[Expected]
) -> tuple[list[Pair], list[str]]:
    """The table's pairs, and what is not there yet, in words.

    Each row should have all pairs at each of its seeds, and what a sweep expects of it.
    """
    planned = planned_for(setting, expected)
    pairs = {result.pair for row in board.values() for result in row.results}
    pairs |= {Pair(one.source, one.target, one.pair) for one in planned}
    columns = sorted(pairs, key=setting.place)

    wanted = {
        title: {(p.name, s) for p in columns for s in row.seeds} for title, row in board.items()
    }
    there = {title: {(r.pair.name, r.seed) for r in row.results} for title, row in board.items()}
    by_name: dict[str, list[str]] = {}
    for title, row in board.items():
        by_name.setdefault(row_title(row.method, row.augment), []).append(title)
    for one in planned:
        known = [one.row_title] if one.row_title in board else by_name.get(one.row_title)
        titles = known or [one.row_title]
        if not one.done:  # of several rows of that name it is not known which
            title = titles[0] if len(titles) == 1 else one.row_title
            wanted.setdefault(title, set()).add((one.pair, one.seed))
    names = [pair.name for pair in columns]
    found = []
    for title, places in wanted.items():
        absent = places - there.get(title, set())
        if absent:
            found.append(f"{title}: {_places(absent, places, names)}")
    return columns, [f"Not there: {'; '.join(found)}."] if found else []


def _places(absent: set[tuple[str, int]], wanted: set[tuple[str, int]], names: list[str]) -> str:
    """``Om2Tw, Om2No seed 2``; ``8 of 12 pairs (Om2Tw, Om2No, …) and seeds of 2 more``."""
    whole, in_part = [], []
    words = []
    for name in names:
        gone = sorted(seed for pair, seed in absent if pair == name)
        if not gone:
            continue
        if len(gone) == sum(pair == name for pair, _ in wanted):
            whole.append(name)
            words.append(name)
        else:
            in_part.append(name)
            words.append(f"{name} {seeds_text(gone)}")
    if len(words) <= NAMED:
        return ", ".join(words)
    parts = []
    if whole:
        named = ", ".join(whole[:NAMED]) + (", …" if len(whole) > NAMED else "")
        parts.append(f"{len(whole)} of {len(names)} pairs ({named})")
    if in_part:
        parts.append(f"seeds of {len(in_part)} {'more' if whole else 'pairs'}")
    return " and ".join(parts)
