"""Processes that evaluate the points of one slice side by side."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from thalweg.errors import InvalidArgument, OutOfMemory, ThalwegError
from thalweg.landscape.plane import Plane

Measure = Callable[[Tensor], Mapping[str, float]]


class Workers:
    """`count` processes, each a copy of this one with a thread of its own; call it with coordinates, get metrics.

    The processes do nothing else and keep nothing: whoever asked keeps what they find. They end with the context, or
    when the process that asked dies. What a process that dies was evaluating is given to another.

    Raises InvalidArgument where processes cannot be copied: on a graphics card, or a system without fork.
    """

    def __init__(
        self, count: int, plane: Plane, measure: Callable[[], AbstractContextManager[Measure]]
    ) -> None:
        if plane.center.device.type != "cpu" or "fork" not in multiprocessing.get_all_start_methods():
            raise InvalidArgument(
                f"workers must be 1 on {plane.center.device.type} and this system, got {count}"
            )
        self._count = count
        self._plane = plane
        self._measure = measure
        self._workers: dict[Connection, Any] = {}

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("fork")
        for _ in range(self._count):
            ours, theirs = context.Pipe()
            # Of the other workers' ends a copy would keep them alive.
            inherited = [*self._workers, ours]
            process = context.Process(
                target=_work, args=(theirs, inherited, self._plane, self._measure), daemon=True
            )
            process.start()
            theirs.close()
            self._workers[ours] = process
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection, process in self._workers.items():
            connection.close()
            process.terminate()
            process.join()

    def __call__(self, places: Sequence[Sequence[float]]) -> list[Mapping[str, float]]:
        """The metrics at each place, in order; raises what a worker raised."""
        found: dict[int, Mapping[str, float]] = {}
        waiting = list(range(len(places)))[::-1]
        busy: dict[Connection, int] = {}
        while len(found) < len(places):
            for connection in self._workers:
                if waiting and connection not in busy:
                    busy[connection] = waiting.pop()
                    connection.send(list(places[busy[connection]]))
            if not busy:
                raise OutOfMemory(
                    "all workers were killed, perhaps for want of memory: evaluate with workers=1"
                )
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                number = busy.pop(connection)
                try:
                    answer = connection.recv()
                except (EOFError, ConnectionError):
                    self._workers.pop(connection).join()
                    waiting.append(number)
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                found[number] = answer
        return [found[number] for number in range(len(places))]


def _work(
    connection: Connection,
    inherited: Sequence[Connection],
    plane: Plane,
    measure: Callable[[], AbstractContextManager[Measure]],
) -> None:
    for other in inherited:
        other.close()
    # OpenMP's threads do not survive the copy.
    torch.set_num_threads(1)
    with suppress(EOFError, KeyboardInterrupt, ConnectionError):
        try:
            _serve(connection, plane, measure)
        except Exception as error:
            # Of entering the measurement, in answer to the first place.
            connection.recv()
            connection.send(_sendable(error))


def _serve(
    connection: Connection, plane: Plane, measure: Callable[[], AbstractContextManager[Measure]]
) -> None:
    with measure() as evaluate:
        while True:
            place = connection.recv()
            try:
                answer: object = dict(evaluate(plane.at(place)))
            except Exception as error:
                answer = _sendable(error)
            connection.send(answer)


def _sendable(error: Exception) -> Exception:
    """The error itself, or what can be told of one that does not survive the way to another process."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    # Whatever an exception of the user's does when it is taken apart.
    except Exception:
        pass
    return ThalwegError(f"{type(error).__name__}: {error}")


def unshared(model: nn.Module) -> None:
    """Give this process tensors of its own where the model's are in memory that it shares with others."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_shared():
            tensor.data = tensor.data.clone()
