"""By whose verdict an edit stands: the store's, or a screen's, whoever filled the store."""

import json

import pytest
import torch
from helpers.edits import fill, random_images, requests_for

from genmix_aug.editors import Editor
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.verdicts import verdicts
from genmix_aug.screening.checks import Verdict, screen

PROMPTS = ("snowy", "mosaic", "sunset")


class Washer(Editor):
    """Paints white where the seed's last bits are 0 and 1, else the negative, moved by the seed."""

    fingerprint, prompts = "washer-v1", ()

    def __init__(self):
        self.made = 0

    def edit(self, images, prompts, seeds):
        self.made += len(images)
        shift = torch.tensor([seed % 7 for seed in seeds], dtype=torch.uint8)[:, None, None, None]
        negative = 255 - images // 2 - shift
        white = torch.tensor([seed % 4 < 2 for seed in seeds])[:, None, None, None]
        return torch.where(white, torch.full_like(images, 255), negative)


def by_features(originals, edits):
    """Apply the checks of pixels, and another that rejects about half of what they accept."""
    verdicts = []
    for verdict, edit in zip(screen(originals, edits), edits, strict=True):
        odd = int(edit[0, 0, 0]) % 2 == 1
        reason = verdict.reason or ("unrecognisable" if odd else "")
        verdicts.append(Verdict(reason, {**verdict.scores, "similarity": 0.5 - odd}))
    return verdicts


SCREENS = {"none": None, "pixels": screen, "features a": by_features}


def filled(store, by, editor=None, **options):
    images = random_images(8, below=120)
    requests = requests_for(images, PROMPTS, 3)
    settings = {"screen": SCREENS[by], "judged_by": by, "redraws": 2, "batch_size": 5}
    return fill(store, editor or Washer(), images, requests, **{**settings, **options})


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return what each screen serves on a store that no other has touched."""
    keys_by_screen = {by: filled(EditStore(tmp_path_factory.mktemp("alone")), by) for by in SCREENS}
    assert len({tuple(keys) for keys in keys_by_screen.values()}) == 3, "they differ"
    assert None in keys_by_screen["features a"]
    return keys_by_screen


@pytest.mark.parametrize("first", [*SCREENS, "unnamed none", "unnamed pixels", "unnamed features"])
@pytest.mark.parametrize("then", SCREENS)
def test_a_screen_serves_the_same_whoever_filled_the_store(tmp_path, alone, first, then):
    """Unnamed: as `genmix edit` fills it, and as all stores were filled before."""
    store = EditStore(tmp_path / "store")
    if first.startswith("unnamed"):
        kinds = {"none": None, "pixels": screen, "features": by_features}
        filled(store, "none", screen=kinds[first.split()[1]], judged_by="")
    else:
        filled(store, first)
    editor = Washer()
    keys = filled(store, then, editor)
    assert keys == alone[then]
    assert all(store.read_any(key).shape == (3, 12, 9) for key in keys if key)
    made = editor.made
    again = Washer()
    assert filled(store, then, again) == keys
    assert again.made == 0, f"{made} were enough"


def test_verdicts_that_are_known_are_not_given_again(tmp_path):
    """Stores of before need no second look where the same screen filled them."""
    store = EditStore(tmp_path)
    filled(store, "pixels", judged_by="")
    assert not any("screen" in record for record in store.lines())

    def refuse(originals, edits):
        raise AssertionError("judged again")

    filled(store, "pixels", screen=refuse)
    filled(store, "none")
    filled(store, "features a")
    filled(store, "features a", screen=refuse)
    filled(store, "pixels", screen=refuse)


def test_other_images_set_another_limit(tmp_path):
    """A screen by features is known by its reference: the verdicts of another are not taken."""
    store = EditStore(tmp_path)
    filled(store, "features a")
    seen = []

    def counting(originals, edits):
        seen.append(len(edits))
        return by_features(originals, edits)

    filled(store, "none", screen=counting, judged_by="features b")
    assert sum(seen) >= 24


def test_the_stores_own_verdict_is_left_alone(tmp_path):
    """What others are served does not change with a run's screening."""
    store = EditStore(tmp_path)
    before = filled(store, "features a", judged_by="")
    served, refused = store.keys(), store.rejected_keys()
    filled(store, "none")
    filled(store, "pixels")
    assert store.rejected_keys() == refused
    assert set(served) <= set(store.keys())
    assert filled(store, "features a", judged_by="") == before
    records = {record["key"]: record for record in store.entries()}
    assert {key for key, record in records.items() if record["reason"]} == set(refused)


def test_redraws_are_the_runs_own(tmp_path):
    """An attempt that only somebody's larger number reached is not taken."""
    store = EditStore(tmp_path / "long")
    filled(store, "features a", redraws=9)
    other = EditStore(tmp_path / "short")
    expected = filled(other, "features a", redraws=1)
    assert None in expected
    assert filled(store, "features a", redraws=1) == expected


def test_a_rejection_by_hand_counts_for_those_who_look_at_pixels(tmp_path):
    """`genmix screen --reject` says nothing of pixels where features decided."""
    store = EditStore(tmp_path)
    keys = filled(store, "pixels")
    good = [key for key in keys if key]
    records = {record["key"]: record for record in store.entries()}
    store.reject(records[good[0]], "white")
    store.reject(records[good[1]], "unrecognisable")
    said = verdicts(store, "pixels")
    assert (said[good[0]], said[good[1]]) == ("white", "")
    after = filled(store, "pixels")
    assert after.count(good[0]) == 0
    assert good[1] in after


def test_a_report_of_similarities_is_no_verdict(tmp_path):
    """Filled unseen; `genmix screen` then measures it without rejecting anything."""
    store = EditStore(tmp_path)
    filled(store, "none", judged_by="")
    scores = {"brightness": 255.0, "contrast": 0.0, "change": 190.0, "similarity": 0.9}
    store.record([{**record, "scores": scores} for record in store.entries()])
    assert verdicts(store, "pixels") == {}


def test_a_broken_rejected_edit_is_made_again_and_stays_out_of_service(tmp_path):
    store = EditStore(tmp_path)
    filled(store, "features a")
    key = next(k for k in filled(store, "none") if store.find(k) is None)
    path = store.find_rejected(key)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert filled(store, "none").count(key) == 1
    assert path.read_bytes() == whole
    assert store.find(key) is None


def test_the_verdict_written_last_counts(tmp_path):
    store = EditStore(tmp_path)
    record = {"key": "ab" * 20, "reason": "black", "scores": {}, "screen": "mine"}
    store.record([record])
    store.record([{**record, "reason": ""}])
    assert verdicts(store, "mine") == {"ab" * 20: ""}
    file = next((tmp_path / "manifest").iterdir())
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["time"] += 100
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verdicts(store, "mine") == {"ab" * 20: "black"}
