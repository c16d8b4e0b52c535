"""The driver that runs an update rule on many points of an objective at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from thalweg.optim.code import code_of
from thalweg.optim.flat import write
from thalweg.optim.kernel import Kernel, kernel
from thalweg.optim.rule import Group, Rule, Scalar

Field: TypeAlias = Callable[[Tensor], Tensor]
"""The gradient that a rule is given at points (n, ...), column by column, in their shape."""


class Driver(Protocol):
    """What advances columns of points together, one step at a time; see `Batched`."""

    steps: int
    inside: Tensor

    @property
    def point(self) -> Tensor:
        """Where gradients are taken, shape (n, ...)."""
        ...

    def field(self, points: Tensor, /) -> Tensor:
        """The gradient at points (n, ...), in their shape."""
        ...

    def step(self) -> None:
        """Advance every column."""
        ...

    def theta(self) -> Tensor:
        """The iterates, shape (n, ...)."""
        ...


COMPILE_FROM = 20_000_000
"""Coordinates times steps from which the driver is compiled: about a second of work without."""


class Batched:
    """Points (n, b), or (n, r, b) for r rates, advanced together by one rule, each column on its own.

    `groups` are the rule's hyperparameters, one group for each rate; a rate may be a function of the steps done.
    `noise` is the standard deviation of Gaussian noise added to every entry of every gradient, drawn from `seed` once
    for all rates. `prepare` is called before each step and may change the state, for rules that need more than a
    gradient. Columns that leave the box |θ| ≤ `bound` or the finite numbers are noticed: `inside` holds the last
    step at which each had not.
    """

    def __init__(
        self,
        field: Field,
        rule: Rule,
        groups: Sequence[Group],
        points: Tensor,
        *,
        bound: float,
        noise: float = 0.0,
        seed: int = 0,
        prepare: Callable[[Batched], None] | None = None,
    ) -> None:
        self._field, self.rule, self.groups = field, rule, groups
        names = rule.kept(groups[0])
        self._kept = [name in names for name in rule.state]
        self._point = points.clone(memory_format=torch.contiguous_format)
        self.state = [
            rule.begin(name, self.point, groups[0]) if there else None
            for name, there in zip(rule.state, self._kept, strict=True)
        ]
        self.memories = [dict(rule.memory) for _ in groups]
        self.steps = 0
        self.inside = torch.zeros(points.shape[1:], device=points.device)
        self.bound, self.noise = bound, noise
        self._prepare = prepare
        self._generator = torch.Generator(points.device).manual_seed(seed)
        self._kernel: Kernel | None = None

    @property
    def point(self) -> Tensor:
        """Where gradients are taken, in the shape of the points given."""
        return self._point

    def field(self, points: Tensor, /) -> Tensor:
        """The gradient at points (n, ...), without noise."""
        return self._field(points)

    def compile(self, name: str, code: str) -> None:
        """Run the following steps compiled, where that is possible; `code` tells the field from others."""
        scalars = self._vector([(0.0,) * self._count() for _ in self.groups])
        rest = [self.point] * self._noisy + self._tensors()
        axes = dict(zip(range(1, self.point.dim()), "rb"[3 - self.point.dim() :], strict=True))
        columns = [self.inside, self.point, *rest]
        dynamic = [{place - 1: axis for place, axis in axes.items()}, *[axes] * (1 + len(rest))]
        scalar_axes = {1: "r"} if self.point.dim() == 3 else {}
        code += code_of([self.rule.update, self.rule.evaluation_point, self.rule.iterate])
        code += f"{self._kept}{self._maximize}{self.point.shape[0]}{self._noisy}"
        self._kernel = kernel(name, self._traced, [*columns, scalars], [*dynamic, scalar_axes], code)

    def step(self) -> None:
        """Advance every column by one step."""
        if self._prepare is not None:
            self._prepare(self)
        self.steps += 1
        rows: list[tuple[float, ...]] = []
        for place, group in enumerate(self.groups):
            if callable(group["lr"]):
                group = {**group, "lr": group["lr"](self.steps - 1)}
            row, self.memories[place] = self.rule.step_scalars(self.steps, group, self.memories[place])
            rows.append((*row, self.bound, float(self.steps)))
        rest = self._tensors()
        if self._noisy:
            rest.insert(0, self._draw())
        if self._kernel is not None:
            self._kernel([self.inside, self.point, *rest, self._vector(rows)])
        elif len(rows) == 1:
            self._advance(self.inside, self.point, rest, rows[0])
        else:
            self._advance(self.inside, self.point, rest, self._vector(rows).to(self.point.dtype).unbind())

    def theta(self) -> Tensor:
        """The iterates, in the shape of the points given: not the points where the gradient is taken."""
        if self.rule.iterate is None:
            return self.point.clone()
        mixing: Scalar = self.memories[0]["mixing"]
        return self.rule.iterate(self.point, *self.state, mixing)

    def _tensors(self) -> list[Tensor]:
        return [tensor for tensor in self.state if tensor is not None]

    @property
    def _noisy(self) -> bool:
        return self.noise > 0

    @property
    def _maximize(self) -> bool:
        return bool(self.groups[0].get("maximize", False))

    def _count(self) -> int:
        """How many scalars a step has, the bound and the step's number among them."""
        return len(self.rule.step_scalars(1, {**self.groups[0], "lr": 0.0}, dict(self.rule.memory))[0]) + 2

    def _vector(self, rows: Sequence[Sequence[float]]) -> Tensor:
        """Scalars (k,), or (k, r, 1) for several rates."""
        table = torch.tensor(rows, dtype=torch.float64, device=self.point.device)
        return table[0] if self.point.dim() == 2 else table.T[..., None].contiguous()

    def _draw(self) -> Tensor:
        shape = (self.point.shape[0], self.point.shape[-1])
        drawn = torch.randn(
            shape, generator=self._generator, dtype=self.point.dtype, device=self.point.device
        )
        drawn *= self.noise
        return drawn if self.point.dim() == 2 else drawn[:, None].expand_as(self.point).contiguous()

    def _traced(self) -> Callable[..., None]:
        """One step from the scalars as one tensor, for the compiler."""
        from torch.fx.experimental.proxy_tensor import make_fx  # takes a second to import

        # Traced on its own first: the compiler cannot follow every formula's backward pass itself. No two axes of the
        # example may be equally long, or they are taken for one.
        n = self.point.shape[0]
        example = self.point.new_ones([n, n + 3, n + 5][: self.point.dim() - 1] + [n + 9])
        traced = make_fx(self._field, tracing_mode="symbolic", _allow_non_fake_inputs=True)(example)

        def step(inside: Tensor, point: Tensor, *rest: Tensor) -> None:
            *tensors, scalars = rest
            if scalars.dim() > 1:
                scalars = scalars.to(point.dtype)
            self._advance(inside, point, tensors, scalars.unbind(), traced)

        return step

    def _advance(
        self,
        inside: Tensor,
        point: Tensor,
        tensors: Sequence[Tensor],
        scalars: Sequence[Scalar],
        field: Field | None = None,
    ) -> None:
        g = (field or self._field)(point)
        if self._noisy:
            drawn, *tensors = tensors
            g = g + drawn
        *others, bound, t = scalars
        given = iter(tensors)
        state = [next(given) if there else None for there in self._kept]
        moved, news = self.rule.advance(point, -g if self._maximize else g, state, others)
        point.copy_(moved)
        write(state, news)
        # A comparison with NaN is false, so what was lost stays lost.
        still = (moved.abs() <= bound).all(0) & (inside == t - 1)
        inside.copy_(torch.where(still, inside + 1, inside))
