"""What screening says of a store: a table, a ranking of prompts, a figure and the worst edits.

Works on the store's records (`EditStore.entries`); the keys read are key, prompt, reason ("" if
accepted) and scores.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genmix_aug.files import write_whole
from genmix_aug.lettering import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image
    from torch import Tensor

Record = Mapping[str, Any]

# Okabe and Ito's colours, which most eyes can distinguish.
ACCEPTED, REJECTED, INK = "#0072B2", "#E69F00", "#28282e"
BINS = 40
PAIRS_IN_COLUMN = 8  # of the sheet of the worst, so that two dozen still fit a screen


class PromptRow(NamedTuple):
    """How a prompt did: its edits, those rejected, and the mean similarity of all of them.

    `similarity` is None where no edit of the prompt was compared.
    """

    prompt: str
    edits: int
    rejected: int
    reasons: dict[str, int]
    similarity: float | None


def rank_prompts(records: Iterable[Record]) -> list[PromptRow]:
    """Return a row for each prompt, best first: by share rejected, then by mean similarity.

    The share that counts is the lower end of Wilson's 95 % interval, so that a prompt of few
    edits is not last for a single failure. Prompts without similarities follow their equals.
    """
    by_prompt: dict[str, list[Record]] = {}
    for record in records:
        by_prompt.setdefault(record["prompt"], []).append(record)
    rows = []
    for prompt, edits in by_prompt.items():
        reasons = Counter(record["reason"] for record in edits if record["reason"])
        known = [s for record in edits if (s := similarity_of(record)) is not None]
        mean = float(np.mean(known)) if known else None
        rows.append(PromptRow(prompt, len(edits), reasons.total(), _in_order(reasons), mean))

    def rank(row: PromptRow) -> tuple[float, float, str]:
        likeness = -inf if row.similarity is None else row.similarity
        return _surely(row.rejected, row.edits), -likeness, row.prompt

    return sorted(rows, key=rank)


def summary(records: Iterable[Record], limit: float | None = None) -> str:
    """Return a plain text of counts, reasons, similarities and the prompts' ranking.

    Args:
        records: From `EditStore.entries`.
        limit: The least similarity that was accepted, where it is known.
    """
    records = list(records)
    if not records:
        return "no edits"
    reasons = Counter(record["reason"] for record in records if record["reason"])
    rejected = reasons.total()
    counts = [
        ("edits", len(records)),
        ("accepted", len(records) - rejected),
        ("rejected", rejected),
        *((f"  {reason}", number) for reason, number in _in_order(reasons).items()),
    ]
    lines = aligned(
        [[name, f"{number:,}", _percent(number, len(records))] for name, number in counts]
    )
    known = [s for record in records if (s := similarity_of(record)) is not None]
    if known:
        low, mean = np.quantile(known, 0.05), np.mean(known)
        limited = "" if limit is None else f", limit {limit:.2f}"
        lines += ["", f"similarity: mean {mean:.2f}, 5 % quantile {low:.2f}{limited}"]
        how = "by share rejected, then by similarity"
    else:
        how = "by share rejected alone: similarities were not measured"
    header = ["prompt", "edits", "rejected", "", *(["similarity"] if known else []), "why"]
    table = [header]
    for row in rank_prompts(records):
        likeness = "–" if row.similarity is None else f"{row.similarity:.2f}"
        why = ", ".join(f"{reason} {number:,}" for reason, number in row.reasons.items())
        counted = [f"{row.edits:,}", f"{row.rejected:,}", _percent(row.rejected, row.edits)]
        table.append([row.prompt, *counted, *([likeness] if known else []), why])
    left = (0, len(header) - 1)
    return "\n".join([*lines, "", f"prompts, best first ({how}):", *aligned(table, left)])


def worst(records: Iterable[Record], count: int) -> list[Record]:
    """Return the `count` worst edits: the rejected, then the accepted of least similarity.

    The worst of each prompt and reason come before the second worst of any, so that a single bad
    prompt does not hide the others.
    """

    def badness(record: Record) -> tuple[bool, float, str]:
        likeness = similarity_of(record)
        if likeness is None:
            likeness = -inf if record["reason"] else inf
        return not record["reason"], likeness, record["key"]

    turn: Counter[tuple[str, str]] = Counter()
    placed = []
    for record in sorted(records, key=badness):
        group = record["prompt"], record["reason"]
        accepted, likeness, key = badness(record)
        placed.append(((accepted, turn[group], likeness, key), record))
        turn[group] += 1
    placed.sort(key=lambda entry: entry[0])
    return [record for _, record in placed[: max(0, count)]]


def draw_similarities(records: Iterable[Record], limit: float | None, path: Path | str) -> None:
    """Draw the similarities into a PNG: a histogram for each prompt, the worst at the bottom.

    Args:
        records: From `EditStore.entries`.
        limit: The least similarity that was accepted, drawn as a line; None draws none.

    Raises:
        ValueError: No edit has a similarity, or `path` does not end in .png.
        OSError: The folder cannot be made or written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path, records = Path(path), list(records)
    if path.suffix.lower() != ".png":
        raise ValueError(f"the figure's name must end in .png: {path}")
    every = [s for record in records if (s := similarity_of(record)) is not None]
    if not every:
        raise ValueError(
            "no edit in the store has a similarity to draw: screen it with a feature function"
        )
    rows = rank_prompts(records)
    ends = [*every, *([] if limit is None else [limit])]
    room = max(0.02, 0.03 * (max(ends) - min(ends)))
    edges = np.linspace(min(ends) - room, max(ends) + room, BINS + 1)

    figure = Figure(figsize=(8, 1.3 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for level, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
        edits = [record for record in records if record["prompt"] == row.prompt]
        _draw_row(axes, edits, level, edges)
        share = f"{row.rejected:,} of {row.edits:,} rejected"
        axes.text(1.02, level + 0.2, share, fontsize=9, transform=axes.get_yaxis_transform())
    if limit is not None:
        axes.axvline(limit, color=INK, linestyle="--", linewidth=1.2, label=f"limit {limit:.2f}")
    heights = [level + 0.3 for level in range(len(rows))]
    axes.set_yticks(heights, [row.prompt for row in reversed(rows)])
    axes.set_ylim(-0.1, len(rows))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("similarity of edit and original (cosine of features)")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(sorted(zip(labels, handles, strict=True), key=lambda entry: entry[0]))
    figure.legend(
        unique.values(), unique.keys(), loc="outside upper center", ncols=4, frameon=False
    )
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=144, facecolor="white")
    write_whole(path, data.getvalue())


def draw_worst(
    pairs: Sequence[tuple[Tensor, Tensor]], records: Sequence[Record], size: int
) -> Image:
    """Return a sheet of originals beside their edits, each with its prompt, reason and similarity.

    Args:
        pairs: Original and edit, uint8 [3, H, W], of each record.
        records: As `worst` returns them.
        size: Side of a picture on the sheet, px.

    Raises:
        ValueError: No pairs, another number of records, or a size that is too small.
    """
    from PIL import Image as Pillow

    from genmix_aug.contact_sheet import PAPER, contact_sheet

    if len(pairs) != len(records):
        raise ValueError(f"{len(pairs)} pairs of pictures for {len(records)} records")
    labels = [caption(record) for record in records]
    columns = [
        contact_sheet(
            pairs[start : start + PAIRS_IN_COLUMN],
            labels[start : start + PAIRS_IN_COLUMN],
            ["original", "edit"],
            size,
        )
        for start in range(0, max(1, len(pairs)), PAIRS_IN_COLUMN)
    ]
    height = max(column.height for column in columns)
    sheet = Pillow.new("RGB", (sum(column.width for column in columns), height), PAPER)
    x = 0
    for column in columns:
        sheet.paste(column, (x, 0))
        x += column.width
    return sheet


def caption(record: Record) -> str:
    """Return an edit's prompt, why it was rejected, and its similarity where it was compared."""
    likeness = similarity_of(record)
    parts = [record["prompt"], record["reason"] or "accepted"]
    return ", ".join([*parts, *([] if likeness is None else [f"similarity {likeness:.2f}"])])


def similarity_of(record: Record) -> float | None:
    """Return the similarity that screening measured, or None."""
    return (record.get("scores") or {}).get("similarity")


def _draw_row(axes: Axes, records: list[Record], level: int, edges: np.ndarray) -> None:
    """Draw a prompt's histogram standing on `level`, its highest bar 0.85 tall."""
    parts = [
        [s for r in records if bool(r["reason"]) == bad and (s := similarity_of(r)) is not None]
        for bad in (False, True)
    ]
    good, bad = (np.histogram(part, edges)[0] for part in parts)
    axes.axhline(level, color="#d6d6dc", linewidth=0.8, zorder=0)
    if not (good + bad).any():
        axes.text(edges[0], level + 0.2, " not measured", fontsize=9, color="#666666")
        return
    scale, width = 0.85 / (good + bad).max(), edges[1] - edges[0]
    axes.bar(edges[:-1], bad * scale, width, level, align="edge", color=REJECTED, label="rejected")
    axes.bar(
        edges[:-1],
        good * scale,
        width,
        level + bad * scale,
        align="edge",
        color=ACCEPTED,
        label="accepted",
    )
    middle = float(np.median(np.concatenate(parts)))
    axes.plot([middle, middle], [level, level + 0.85], color=INK, linewidth=1.2, label="median")


def _in_order(reasons: Counter[str]) -> dict[str, int]:
    """Return reasons, the most frequent first."""
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def _surely(rejected: int, edits: int) -> float:
    """Return the lower end of Wilson's 95 % interval of a share; 0 where nothing was rejected."""
    if rejected == 0:
        return 0.0
    z, share = 1.96, rejected / edits
    spread = z * sqrt(share * (1 - share) / edits + (z / (2 * edits)) ** 2)
    return (share + z * z / (2 * edits) - spread) / (1 + z * z / edits)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
