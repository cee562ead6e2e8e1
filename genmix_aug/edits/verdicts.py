"""How the edits of a store stand: as the store keeps them, or as one screen judges them.

The store's own verdict is where a file lies; whoever filled or screened the store last decided it.
A training run must not depend on that: it goes by its own screen's verdicts, which the manifest
keeps beside the others' under the screen's name, and judges what that screen has not seen yet.
"""

from __future__ import annotations

from genmix_aug.edits.store import EditStore
from genmix_aug.screening.checks import PIXEL_REASONS

NO_SCREEN, PIXELS = "none", "pixels"  # names of the screens that are the same everywhere


def verdicts(store: EditStore, screen: str) -> dict[str, str]:
    """What the screen of this name said of edits, by key: the reason, or "" for a good one.

    Args:
        screen: "pixels" for the checks of `genmix_aug.screening.checks.screen` without features;
        any
            other name that `genmix_aug.edits.fill.fill` was given as `judged_by`.
    """
    found: dict[str, tuple[float, str]] = {}
    for record in store.lines():
        reason = _said(record, screen)
        key, written = record["key"], record["time"]
        if reason is not None and (key not in found or found[key][0] <= written):
            found[key] = (written, reason)
    return {key: reason for key, (_, reason) in found.items()}


def _said(record: dict[str, object], screen: str) -> str | None:
    """A record's word on the edit by this screen; None where it says nothing of that screen."""
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


class ByPlace:
    """The store's own verdicts: what it serves is good."""

    judged_by = ""
    any_attempt = True  # may serve, those as well that only somebody's larger `redraws` reached

    def __init__(self, store: EditStore) -> None:
        self.store = store

    def reason(self, key: str) -> str | None:
        """Why the edit is rejected, "" if it is not; None where it is not there, or not whole."""
        if self.store.has(key):
            return ""
        return "rejected" if self.store.has_rejected(key) else None

    def learn(self, key: str, reason: str) -> None:
        """Nothing: the edit is written where it belongs."""


class ByScreen:
    """One screen's verdicts, wherever the store keeps the edits.

    Args:
        judged_by: the screen's name; "none" accepts all.
    """

    any_attempt = False

    def __init__(self, store: EditStore, judged_by: str) -> None:
        self.store = store
        self.judged_by = judged_by
        self.said = {} if judged_by == NO_SCREEN else verdicts(store, judged_by)

    def reason(self, key: str) -> str | None:
        """As `ByPlace.reason`, and None too where this screen has not judged the edit."""
        if not self.store.has_any(key):
            return None
        return "" if self.judged_by == NO_SCREEN else self.said.get(key)

    def learn(self, key: str, reason: str) -> None:
        """Takes note of a verdict that was given just now."""
        self.said[key] = reason
