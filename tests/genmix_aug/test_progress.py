"""Lines of progress where there is no terminal, by a clock that the tests move."""

import io
import sys

import pytest
from tqdm import tqdm

from genmix_aug.progress import ProgressLines, show_progress


class Clock:
    """What tqdm takes for the time, in seconds."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def work(self, items, seconds):
        """Yield ``items``, each after ``seconds``."""
        for item in items:
            self.now += seconds
            yield item


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show_progress(total=10, desc="train", unit="img", leave=False, delay=2) as bar:
        assert type(bar) is tqdm
        assert not bar.disable
        assert (bar.leave, bar.delay) == (False, 2)


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    with show_progress(total=1000, desc="train", unit="step", leave=False) as bar:
        for _ in clock.work(range(1000), 0.2):
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: 150/1,000 steps, 5/s, 3 min left"
    assert lines[-2] == "train: 900/1,000 steps, 5/s, 20 s left"
    assert lines[-1] == "train: 1,000/1,000 steps, 5/s, took 3 min"
    assert len(lines) == 7


def test_what_is_gone_through_is_counted_too(clock, capsys):
    assert list(show_progress(clock.work("abcd", 10), desc="reading", total=4, unit="image")) == [
        *"abcd"
    ]
    assert capsys.readouterr().err.splitlines() == [
        "reading: 3/4 images, 0.1/s, 10 s left",
        "reading: 4/4 images, 0.1/s, took 40 s",
    ]


def test_short_work_says_nothing(clock, capsys):
    list(show_progress(clock.work(range(9), 1), desc="reading", total=9))
    with show_progress(total=9) as bar:
        bar.set_postfix(loss=1)
    assert capsys.readouterr() == ("", "")


def test_work_of_less_than_half_a_minute_has_its_last_line_alone(clock, capsys):
    list(show_progress(clock.work(range(20), 1), desc="reading", total=20, unit="image"))
    assert capsys.readouterr().err == "reading: 20/20 images, 1/s, took 20 s\n"


def test_words_beside_the_bar_stand_in_the_line_but_make_none(clock, capsys):
    with show_progress(total=100, desc="lead", unit="img") as bar:
        for number in clock.work(range(35), 1):
            bar.update()
            bar.set_postfix_str(f"epoch {number // 10 + 1}/10")
        capsys.readouterr()
        bar.set_postfix(loss="0.5")
        assert capsys.readouterr().err == ""
        clock.now += 30
        bar.set_postfix(loss="0.4")
        bar.update(0)
    line = "lead: 35/100 images, 0.538/s, 2 min left, loss=0.4\n"
    assert capsys.readouterr().err == line, "the same line is not written twice"


def test_the_rate_is_of_what_this_process_did(clock, capsys):
    """A run that goes on from a checkpoint begins with a part done."""
    with show_progress(total=1000, initial=900, desc="train", unit="step") as bar:
        clock.now += 50
        bar.update(50)
    assert capsys.readouterr().err == "train: 950/1,000 steps, 1/s, 50 s left\n"


def test_work_of_unknown_length_and_of_no_pace_has_lines(clock, capsys):
    with show_progress(unit="edit") as bar:
        clock.now += 60
        bar.update(5)
    with show_progress(total=10**6, desc="editing", unit="image") as bar:
        clock.now += 60
        bar.update()
    with show_progress(total=3, desc="stuck") as bar:
        clock.now += 60
        bar.refresh()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "5 edits, 0.0833/s"
    assert said[1] == "editing: 1/1,000,000 images, 0.0167/s, 16666 h 39 min left"
    assert said[2] == "stuck: 0/3 done"


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_what_is_not_shown_says_nothing(clock, stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(show_progress(clock.work("ab", 60), shown=stream is None)) == ["a", "b"]
    assert stream is None or stream.getvalue() == ""


def test_no_line_moves_the_cursor_and_other_words_stand_between(clock, capfd):
    with show_progress(total=4, desc="editing", unit="image") as bar:
        assert isinstance(bar, ProgressLines)
        for _ in clock.work(range(4), 40):
            bar.update()
            tqdm.write("a word", file=sys.stderr)
    said = capfd.readouterr()
    assert said.out == ""
    assert "\r" not in said.err
    assert said.err.splitlines()[:3] == [
        "editing: 1/4 images, 0.025/s, 2 min left",
        "a word",
        "editing: 2/4 images, 0.025/s, 80 s left",
    ]


def test_both_training_loops_say_how_far_they_are_in_a_log(clock, capsys, monkeypatch):
    """The first rank does; the others are silent."""
    import torch

    from uda.config import ImageConfig
    from uda.training import state

    loop = state.Loop(ImageConfig(), 0, torch.device("cpu"), title="train Tw")
    for rank, said in ((0, "train Tw: 320/640 images, 5.33/s, 60 s left\n"), (1, "")):
        monkeypatch.setattr(state, "is_main", lambda rank=rank: rank == 0)
        bar = loop.bar(640, 0)
        clock.now += 60
        bar.update(320)
        bar.close()
        assert capsys.readouterr().err == said


def test_edits_say_how_far_they_are_in_a_log(monkeypatch, capsys, tmp_path):
    from helpers.edit_workers import Noise
    from helpers.edits import fill, random_images, requests_for

    from genmix_aug.edits.store import EditStore

    monkeypatch.setattr("genmix_aug.progress.SHORT_SECONDS", 0.0)
    images = random_images(2)
    requests = requests_for(images, ["ukiyo-e"], 1)
    fill(EditStore(tmp_path), Noise(), images, requests, progress=True)
    assert "editing: 2/2 images, " in capsys.readouterr().err
