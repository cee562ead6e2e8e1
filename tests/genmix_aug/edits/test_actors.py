"""The pool of actors, on a stand-in for Ray whose actors are lost as a test says."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest

from genmix_aug.edits.actors import ActorPool


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        self.cause = cause


class Method:
    def __init__(self, actor, name):
        self.remote = lambda *arguments: (actor, name, arguments)


class Actor:
    """Doubles numbers; is lost over those in `fatal`, and at its start while `bad_starts` last."""

    fatal: ClassVar[dict[int, int]] = {}
    bad_starts = 0
    made = 0

    def __init__(self):
        Actor.made += 1
        self.is_alive = True
        self.start, self.double = Method(self, "start"), Method(self, "double")


def get(ref):
    actor, name, arguments = ref
    assert actor.is_alive
    if name == "start":
        if Actor.bad_starts:
            Actor.bad_starts -= 1
            raise RayError
        return None
    [number] = arguments
    if Actor.fatal.get(number):
        Actor.fatal[number] -= 1
        raise RayError
    if number < 0:
        raise RayTaskError(ValueError("negative") if number == -1 else KeyError("a bug"))
    return 2 * number


@pytest.fixture(autouse=True)
def ray(monkeypatch):
    killed = []

    def kill(actor):
        actor.is_alive = False
        killed.append(actor)

    errors = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    stand_in = SimpleNamespace(
        exceptions=errors, get=get, kill=kill, killed=killed,
        wait=lambda refs, num_returns, timeout: (refs[-1:], refs[:-1]),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    monkeypatch.setattr(Actor, "fatal", {})
    monkeypatch.setattr(Actor, "bad_starts", 0)
    monkeypatch.setattr(Actor, "made", 0)
    return stand_in


def doubled(numbers, count=2):
    with ActorPool(Actor, count) as pool:
        return dict(pool.map("double", [(f"{n}", (n,)) for n in numbers]))


def test_every_task_is_done_once_and_all_actors_end(ray):
    assert doubled(range(7)) == {f"{n}": 2 * n for n in range(7)}
    assert Actor.made == len(ray.killed) == 2
    assert doubled([]) == {}


def test_lost_actors_are_replaced_and_their_tasks_done():
    Actor.fatal, Actor.bad_starts = {3: 2, 5: 3}, 3
    assert doubled(range(7)) == {f"{n}": 2 * n for n in range(7)}
    assert Actor.made == 2 + 2 + 3 + 3


def test_a_task_that_every_actor_is_lost_over_is_an_error(ray):
    Actor.fatal = {3: 4}
    with pytest.raises(ChildProcessError, match="4 workers were lost over the same images"):
        doubled(range(7))
    assert len(set(ray.killed)) == Actor.made


def test_actors_that_never_start_are_an_error():
    Actor.bad_starts = 100
    with pytest.raises(ChildProcessError, match="4 workers in a row were lost at their start"):
        doubled(range(7))


def test_what_a_task_raises_is_raised(ray):
    with pytest.raises(ValueError, match="negative"):
        doubled([1, -1])
    with pytest.raises(RayTaskError):  # with the worker's traceback
        doubled([1, -2])
    assert len(set(ray.killed)) == Actor.made


def test_a_cluster_that_others_take_is_named(ray, capsys):
    polls = []

    def wait(refs, num_returns, timeout):
        polls.append(timeout)
        return (refs, []) if len(polls) > 100 else ([], refs)

    ray.wait = wait
    assert doubled([1], 1) == {"1": 2}
    assert capsys.readouterr().out.count("the cluster may be taken by others") == 1


def test_a_cluster_without_room_is_not_waited_for(ray):
    ray.wait = lambda refs, num_returns, timeout: ([], refs)
    with (
        ActorPool(Actor, 1, lambda: False) as pool,
        pytest.raises(ChildProcessError, match="no node is left for a worker"),
    ):
        list(pool.map("double", [("1", (1,))]))
