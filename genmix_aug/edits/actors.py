"""A pool of Ray's actors: a task goes to whichever is free, and a lost actor is replaced."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

Name = TypeVar("Name")

RETRIES = 3  # of a task whose actor was lost, and of an actor's start
POLL_SECONDS = 1.0  # Ctrl-C is heeded between looks
POLLS_TO_SAY = 60  # after so many without any worker a line says so


class _Task(NamedTuple):
    name: Any
    arguments: tuple[Any, ...]
    losses: int = 0


class ActorPool:
    """As many actors as are asked for, within a `with` block and a connection to Ray.

    Tasks go to running actors, never to one that waits for a node: where nodes are lost,
    the others do all.

    Args:
        create: Returns a new actor. Its method `start` is called first.
        count: Actors at a time.
        has_room: Whether the cluster has room for an actor; asked while none runs.
    """

    def __init__(
        self, create: Callable[[], Any], count: int, has_room: Callable[[], bool] = lambda: True
    ) -> None:
        self.count = count
        self._create = create
        self._has_room = has_room
        self._starting: dict[Any, Any] = {}  # actors, by the reference of what `start` returns
        self._free: list[Any] = []
        self._busy: dict[Any, tuple[Any, _Task]] = {}
        self._lost_starts = 0
        self._idle_polls = 0

    def __enter__(self) -> ActorPool:
        for _ in range(self.count):
            self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import ray

        busy = [actor for actor, _ in self._busy.values()]
        for actor in [*self._free, *self._starting.values(), *busy]:
            ray.kill(actor)

    def map(
        self, method: str, tasks: Iterable[tuple[Name, tuple[Any, ...]]]
    ) -> Iterator[tuple[Name, Any]]:
        """Call a method of the actors for each task, and yield the results as they come.

        Args:
            method: The method's name.
            tasks: A name for each task, and its arguments. Taken one by one, as actors get free.

        Yields:
            The task's name and its result.

        Raises:
            ValueError, OSError: What the method raised.
            ChildProcessError: The actors of a task were lost again and again, or no node is left.
        """
        waiting = (_Task(name, arguments) for name, arguments in tasks)
        lost: deque[_Task] = deque()
        while True:
            while self._free and (task := lost.popleft() if lost else next(waiting, None)):
                actor = self._free.pop()
                self._busy[getattr(actor, method).remote(*task.arguments)] = actor, task
            if self._free and not self._busy:
                return
            for ref in self._ready():
                if ref in self._starting:
                    self._has_started(ref)
                    continue
                actor, task = self._busy.pop(ref)
                done, result = self._result(ref, actor)
                if done:
                    self._free.append(actor)
                    yield task.name, result
                elif task.losses < RETRIES:
                    lost.append(task._replace(losses=task.losses + 1))
                else:
                    raise ChildProcessError(
                        f"{RETRIES + 1} workers were lost over the same images (out of memory?); "
                        "the same command goes on"
                    )

    def wait_for_all(self) -> None:
        """Wait until every actor has started, which `map` does not: it begins with the first."""
        while self._starting:
            for ref in self._ready():
                self._has_started(ref)

    def _start(self) -> None:
        actor = self._create()
        self._starting[actor.start.remote()] = actor

    def _ready(self) -> list[Any]:
        """Return references of what has ended; none after a while."""
        import ray

        refs = [*self._busy, *self._starting]
        ready, _ = ray.wait(refs, num_returns=1, timeout=POLL_SECONDS)
        if not (ready or self._busy):
            if not self._has_room():
                raise ChildProcessError("no node is left for a worker; the same command goes on")
            self._idle_polls += 1
            if self._idle_polls == POLLS_TO_SAY:
                tqdm.write("no worker has started yet; the cluster may be taken by others")
        return list(ready)

    def _has_started(self, ref: Any) -> None:
        actor = self._starting.pop(ref)
        done, _ = self._result(ref, actor)
        if done:
            self._free.append(actor)
            self._lost_starts = 0
        elif (lost := self._lost_starts + 1) > RETRIES:
            raise ChildProcessError(f"{lost} workers in a row were lost at their start")
        else:
            self._lost_starts = lost

    def _result(self, ref: Any, actor: Any) -> tuple[bool, Any]:
        """Return whether an actor has done its task, and the result; replace it if it is lost."""
        import ray

        try:
            return True, ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            self._free.append(actor)
            if isinstance(error.cause, ValueError | OSError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError:
            ray.kill(actor)  # it may be out of reach and not dead
            self._start()
            return False, None
