"""How the edits of a store stand: as the store keeps them, or as a named screen judges them.

The store's verdict is where a file lies; whoever filled or screened the store last decided it.
A training run must not depend on that: it goes by the verdicts of its screen, which the manifest
keeps beside the others' under the screen's name, and judges what that screen has not seen yet.
"""

from __future__ import annotations

from genmix_aug.edits.store import EditStore
from genmix_aug.screening.checks import PIXEL_REASONS

NO_SCREEN, PIXELS = "none", "pixels"  # names of the screens that are the same everywhere


def verdicts(store: EditStore, screen: str) -> dict[str, str]:
    """Return what a screen said of edits, by key: the reason, or "" for a good edit.

    Args:
        store: The store whose manifest is read.
        screen: The screen's name: "pixels" for the checks of
            `genmix_aug.screening.checks.screen` without features, or any other `judged_by` of
            `genmix_aug.edits.fill.FillSettings`.
    """
    latest: dict[str, tuple[float, str]] = {}
    for record in store.lines():
        reason = _reason_by(record, screen)
        key, written = record["key"], record["time"]
        if reason is not None and (key not in latest or latest[key][0] <= written):
            latest[key] = (written, reason)
    return {key: reason for key, (_, reason) in latest.items()}


def _reason_by(record: dict[str, object], screen: str) -> str | None:
    """Return a record's verdict by this screen; None where the screen did not decide it."""
    reason, by = str(record["reason"]), record.get("screen")
    if by == screen:
        return reason
    if screen != PIXELS:
        return None
    if reason in PIXEL_REASONS:
        # Pixels are looked at first, and fail whatever else is asked.
        return None if by == NO_SCREEN else reason
    scores = record.get("scores")
    if not isinstance(scores, dict) or "change" not in scores:
        return None  # accepted unseen
    # Where a similarity stands, pixels may have been measured later and for a report alone.
    judged = by is not None or reason != "" or "similarity" not in scores
    return "" if judged and by != NO_SCREEN else None


class StoredVerdicts:
    """The store's verdicts: what it serves is good.

    Attributes:
        judged_by: The name of the screen that decides; empty where the store does.
        any_attempt: Whether an edit may serve that only a larger number of redraws reached.
    """

    judged_by = ""
    any_attempt = True

    def __init__(self, store: EditStore) -> None:
        self.store = store

    def reason(self, key: str) -> str | None:
        """Return why an edit is rejected, "" if it is good, None if it is missing or damaged."""
        if self.store.has(key):
            return ""
        return "rejected" if self.store.has_rejected(key) else None

    def note(self, key: str, reason: str) -> None:
        """Take note of a new verdict; the store's is where the edit was written."""


class ScreenVerdicts(StoredVerdicts):
    """The verdicts of a named screen, wherever the store keeps the edits.

    Args:
        store: The store.
        judged_by: The screen's name; "none" accepts all.
    """

    any_attempt = False

    def __init__(self, store: EditStore, judged_by: str) -> None:
        super().__init__(store)
        self.judged_by = judged_by
        self.known = {} if judged_by == NO_SCREEN else verdicts(store, judged_by)

    def reason(self, key: str) -> str | None:
        """Return the verdict as `StoredVerdicts.reason`; None too where it was never judged."""
        if not self.store.has_any(key):
            return None
        return "" if self.judged_by == NO_SCREEN else self.known.get(key)

    def note(self, key: str, reason: str) -> None:
        """Take note of a new verdict."""
        self.known[key] = reason
