"""Steepest descent: along −g, as far as a line search says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument
from thalweg.objective import Objective
from thalweg.objective.abstract import AbstractObjective
from thalweg.optim.line_search import METHODS, Line, Method, search


@dataclass(frozen=True, eq=False)
class Step:
    """One step of steepest descent: θ ← θ − tg.

    theta: the new point, shape (n,). loss: the loss there. rate: t. gradient_norm: ‖g‖ where the step began.
    evaluations: of loss and gradient, for this step. met: whether the line search met its conditions; where it could
    not, for round-off or because the loss has no lower bound along −g, θ is the best point it saw.
    """

    theta: Tensor
    loss: float
    rate: float
    gradient_norm: float
    evaluations: int
    met: bool


class SteepestDescent:
    """Steepest descent on an objective: θ ← θ − tg with t from a line search (Cauchy 1847; Nocedal & Wright 2006).

    Parameters
    ----------
    objective: a surface or a model's objective; a model's parameters are moved with every step.
    line_search: "exact" (the loss is at its lowest along −g, so that consecutive directions are orthogonal),
        "armijo" (backtracking, c₁ = 1e-4) or "wolfe" (strong Wolfe conditions, c₂ = 0.9).
    start: shape (n,); the objective's own point if not given.
    first: the first step length tried; later steps try twice the last one.

    `theta`, `loss` and `gradient` are those of the current point. Raises InvalidArgument for an unknown line search
    or a `first` that is not positive.
    """

    def __init__(
        self,
        objective: AbstractObjective,
        line_search: Method = "exact",
        *,
        start: Tensor | Sequence[float] | None = None,
        first: float = 1.0,
    ) -> None:
        if line_search not in METHODS:
            raise InvalidArgument(f"line_search must be one of {', '.join(METHODS)}, got {line_search!r}")
        if not isinstance(objective, AbstractObjective):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(
                f"objective must be a surface or tw.Objective(model, loss, data), got {type(objective).__name__}"
            )
        if not 0 < first < float("inf"):
            raise InvalidArgument(f"first must be finite and above 0, got {first}")
        self.objective = objective
        self.line_search: Method = line_search
        if start is not None:
            start = torch.as_tensor(start).to(objective.device, objective.dtype, copy=True)
        self.theta = objective.point if start is None else objective.checked_point(start)
        self.loss, self.gradient = self._at(self.theta)
        self._first = first

    def step(self) -> Step:
        """Go down once; stays where it is when the gradient is zero or not finite."""
        step = self.advance()
        if isinstance(self.objective, Objective):
            self.objective.set_point(self.theta)
        return step

    def advance(self) -> Step:
        """Go down once, leaving a model's parameters where they are."""
        norm = float(self.gradient.norm())
        if not 0 < norm < float("inf"):
            return Step(self.theta, self.loss, 0.0, norm, 0, norm == 0)
        begun, direction = self.theta, -self.gradient
        seen: dict[float, tuple[float, Tensor]] = {0.0: (self.loss, self.gradient)}

        def evaluate(t: float) -> tuple[float, float]:
            loss, gradient = seen[t] = self._at(begun + t * direction)
            return loss, float(gradient @ direction)

        line = Line(evaluate, self.loss, -norm * norm)
        found = search(line, self.line_search, self._first)
        line.value(found.t)
        self.loss, self.gradient = seen[found.t]
        self.theta = begun + found.t * direction
        if found.t > 0:
            self._first = 2 * found.t
        return Step(self.theta, self.loss, found.t, norm, line.evaluations, found.met)

    def _at(self, theta: Tensor) -> tuple[float, Tensor]:
        with self.objective.at(theta) as here:
            return float(here.loss()), here.gradient()


class LineSearched:
    """Points (n, b), each going down by its own steepest descent; what `Batched` is for elementwise rules."""

    def __init__(
        self, objective: AbstractObjective, points: Tensor, line_search: Method, bound: float
    ) -> None:
        self._paths = [SteepestDescent(objective, line_search, start=point) for point in points.T]
        self._objective, self._bound = objective, bound
        self.steps = 0
        self.inside = torch.zeros(points.shape[1], device=points.device)

    @property
    def point(self) -> Tensor:
        """The current points, shape (n, b)."""
        return torch.stack([path.theta for path in self._paths], 1)

    def theta(self) -> Tensor:
        """The current points, shape (n, b)."""
        return self.point

    def field(self, points: Tensor) -> Tensor:
        """The gradients at points (n, b)."""
        return torch.stack([self._objective.gradient(point) for point in points.T], 1)

    def step(self) -> None:
        """Advance every point by one step."""
        for path in self._paths:
            path.advance()
        still = (self.point.abs() <= self._bound).all(0) & (self.inside == self.steps)
        self.steps += 1
        self.inside += still
