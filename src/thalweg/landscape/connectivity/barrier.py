"""How high a path rises between its ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.checks import whole
from thalweg.errors import InvalidArgument
from thalweg.landscape.connectivity.path import Path, PathKind, point, relative_length
from thalweg.landscape.sampling import statistics_of
from thalweg.objective import AbstractObjective, Objective
from thalweg.objective.metrics import sample_losses

_CLOSE = 1e-3
_ROUNDINGS = 8


def along(
    obj: AbstractObjective,
    kind: PathKind,
    controls: Tensor,
    *,
    points: int = 25,
    metrics: Sequence[str] = ("loss",),
    gradients: int = 0,
) -> Path:
    """Evaluate the path at `points` values of t and find where it is highest between them to a thousandth of t.

    Raises InvalidArgument for fewer than 3 points, an unknown metric, or an end whose loss is not finite.
    """
    from scipy.optimize import minimize_scalar  # takes a third of a second to import

    whole("points", points, least=3)
    names = list(dict.fromkeys(["loss", *metrics]))
    found: dict[float, dict[str, float]] = {}
    with obj.evaluator(names, points) as evaluator:

        def loss(t: float) -> float:
            if t not in found:
                found[t] = evaluator(point(kind, controls, t))
            return found[t]["loss"]

        even = [i / (points - 1) for i in range(points)]
        losses = [loss(t) for t in even]
        for end, value in (("a", losses[0]), ("b", losses[-1])):
            if not math.isfinite(value):
                raise InvalidArgument(
                    f"{end} must have a finite loss for a path to rise above it, got {value}"
                )

        def rise(t: float) -> float:
            return loss(t) - (1 - t) * losses[0] - t * losses[-1]

        def height(t: float) -> float:
            return rise(t) if math.isfinite(rise(t)) else math.inf

        top = max(range(1, points - 1), key=lambda i: height(even[i]))
        if math.isfinite(height(even[top])):
            bounds = even[top - 1], even[top + 1]
            minimize_scalar(
                lambda t: -rise(float(t)), bounds=bounds, method="bounded", options={"xatol": _CLOSE}
            )
        at = max((t for t in found if 0 < t < 1), key=height)
    # Losses that differ by rounding make no barrier; in half precision a mean over many samples is better than theirs.
    precision = min(torch.finfo(obj.dtype).eps, torch.finfo(torch.float32).eps)
    rounding = _ROUNDINGS * precision * max(abs(losses[0]), abs(losses[-1]))
    barrier = height(at) if height(at) > rounding else 0.0
    places = sorted(found)
    values = {name: torch.tensor([found[t][name] for t in places], dtype=torch.float64) for name in names}
    highest = max((found[t]["loss"] for t in places), key=lambda x: x if math.isfinite(x) else math.inf)
    return Path(
        kind,
        controls,
        torch.tensor(places, dtype=torch.float64),
        values,
        barrier,
        _standard_error(obj, kind, controls, at),
        at,
        highest - max(losses[0], losses[-1]),
        relative_length(kind, controls),
        len(found),
        gradients,
        statistics_of(obj),
        _limits(kind, points),
    )


def _standard_error(obj: AbstractObjective, kind: PathKind, controls: Tensor, at: float) -> float:
    """Of the barrier as a mean over independent samples: the losses of each are compared with each other."""
    if not isinstance(obj, Objective):
        return 0.0
    parts: list[Tensor] = []
    for t, share in ((at, 1.0), (0.0, at - 1), (1.0, -at)):
        with obj.at(point(kind, controls, t)) as here:
            losses = sample_losses(here)
        if losses is None or len(losses) < 2:
            return math.nan
        parts.append(share * losses)
    return float(sum(parts, torch.zeros(())).std() / len(parts[0]) ** 0.5)


def _limits(kind: PathKind, points: int) -> tuple[str, ...]:
    told = f"Between the {points} points evaluated, beside the highest of them, the loss was not looked at."
    if kind == "line":
        return (told, "A barrier on the straight line does not mean that no other path is low.")
    return (told, "A barrier that is left may be the training's: more steps or bends can lower it.")
