"""What is surveyed: a problem to be trained, an objective as it stands, or a surface."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from thalweg import problems, surfaces
from thalweg.errors import InvalidArgument, UnknownName
from thalweg.objective import AbstractObjective, Objective
from thalweg.problems import Problem
from thalweg.surfaces import Surface
from thalweg.surveys.factory_file import call_factory


@dataclass(frozen=True)
class Target:
    """Something to survey: exactly one of `problem` (trained unless weights are given) and `objective`.

    kind: "problem", "surface", "objective", or "file" for one that a user's file made. `test` is an objective
    on held-out data, where there is one.
    """

    name: str
    kind: str
    problem: Problem | None = None
    objective: AbstractObjective | None = None
    test: Objective | None = None


def resolve(target: object, /, **parameters: Any) -> Target:
    """The target that a name, a "file.py:factory", or an object in memory stands for.

    A factory may return a Problem, an Objective, a Surface, a tuple (model, loss_fn, data) or
    (model, loss_fn, data, test_data), or a dict of Objective's arguments. A Target is returned as it is.

    `parameters` go to the factory of a named problem or surface.

    Raises UnknownName for a name that is neither a problem nor a surface, InvalidArgument for another object.
    """
    if isinstance(target, Target):
        return target
    if parameters and (not isinstance(target, str) or ".py:" in target):
        raise InvalidArgument(f"parameters {', '.join(parameters)} are for named problems and surfaces")
    if not isinstance(target, str):
        return _target(target, None, "objective")
    if ".py:" in target:
        return _target(call_factory(target), target, "file")
    if target.endswith(".py"):
        raise InvalidArgument(f"target {target!r} must name the function that makes it: {target}:make")
    if target in problems.names():
        return Target(target, "problem", problem=problems.get(target, **parameters))
    if target in surfaces.names():
        return Target(target, "surface", objective=surfaces.get(target, **parameters))
    near = difflib.get_close_matches(target, [*problems.names(), *surfaces.names()])
    known = f"problems: {', '.join(problems.names())}; surfaces: {', '.join(surfaces.names())}"
    hint = f"did you mean {' or '.join(near)}?" if near else known
    raise UnknownName(f"target {target!r} is no problem, no surface and no file.py:factory; {hint}")


def _target(made: object, name: str | None, kind: str) -> Target:
    if isinstance(made, Problem):
        return Target(name or made.name, kind if name else "problem", problem=made)
    if isinstance(made, Surface):
        return Target(name or made.name, "surface", objective=made)
    if isinstance(made, AbstractObjective):
        return Target(name or made.name, kind, objective=made)
    if isinstance(made, Mapping):
        arguments = dict(cast("Mapping[str, Any]", made))
        test_data = arguments.pop("test_data", None)
        return _measured(arguments, test_data, name, kind)
    if isinstance(made, tuple) and len(cast("tuple[Any]", made)) in (3, 4):
        model, loss_fn, data, *test = cast("tuple[Any, ...]", made)
        arguments: dict[str, Any] = {"model": model, "loss_fn": loss_fn, "data": data}
        return _measured(arguments, test[0] if test else None, name, kind)
    raise InvalidArgument(
        f"{name or 'target'} must be or return a Problem, an Objective, a Surface, (model, loss_fn, data) or a dict "
        f"of Objective's arguments, got {type(made).__name__}"
    )


def _measured(arguments: dict[str, Any], test_data: object, name: str | None, kind: str) -> Target:
    if not isinstance(arguments.get("model"), nn.Module):
        raise InvalidArgument(
            f"{name or 'target'}: model must be a torch.nn.Module, got {type(arguments.get('model')).__name__}"
        )
    try:
        objective = Objective(**arguments)
        held_out: dict[str, Any] = {**arguments, "data": test_data}
        test = None if test_data is None else Objective(**held_out)
    except TypeError as error:
        raise InvalidArgument(f"{name or 'target'}: {error}") from error
    return Target(name or objective.name, kind, objective=objective, test=test)
