"""The driver that runs an update rule on many points of an objective at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from thalweg.optim.driver.code import code_of
from thalweg.optim.driver.flat import write
from thalweg.optim.driver.kernel import Kernel, kernel
from thalweg.optim.driver.rule import Group, Rule, Scalar, State

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


FEW = 8
"""Coordinates up to which a compiled step takes them one by one."""
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
        self._gradient = torch.empty_like(self._point)
        self._kernels: tuple[Kernel, Kernel] | None = None

    @property
    def point(self) -> Tensor:
        """Where gradients are taken, in the shape of the points given."""
        return self._point

    def field(self, points: Tensor, /) -> Tensor:
        """The gradient at points (n, ...), without noise."""
        return self._field(points)

    def compile(self, name: str, code: str) -> None:
        """Run the following steps compiled, where that is possible; `name` and `code` tell the field from others.

        The field is one kernel and the rule another, which serves every surface. In one, the compiler would compute the
        gradient anew wherever the rule uses it.
        """
        columns = dict(zip(range(self.inside.dim()), "rb"[2 - self.inside.dim() :], strict=True))
        whole = {axis + 1: length for axis, length in columns.items()}
        points = [self._point, self._gradient]
        field = kernel(name, self._traced, points, [whole, whole], f"{code}{len(self._point)}")
        scalars = self._vector([(0.0,) * self._count() for _ in self.groups])
        arguments = self._arguments()
        axes = columns if arguments[0].dim() == self.inside.dim() else whole
        made_of = code_of([self.rule.update, self.rule.evaluation_point, self.rule.iterate])
        rule = kernel(
            f"{self.rule.name}-columns",
            lambda: self._advance_flat,
            [self.inside, *arguments, scalars],
            [columns, *[axes] * len(arguments), {1: "r"} if scalars.dim() == 3 else {}],
            f"{made_of}{self._kept}{self._maximize}{len(self._point)}",
        )
        self._kernels = None if field is None or rule is None else (field, rule)

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
        if self._kernels is None:
            self._gradient.copy_(self._field(self._point))
        else:
            self._kernels[0]([self._point, self._gradient])
        if self.noise > 0:
            self._gradient += self._draw()
        if self._kernels is not None:
            self._kernels[1]([self.inside, *self._arguments(), self._vector(rows)])
        elif len(rows) == 1:
            self._advance(self.inside, [(self._point, self._gradient, self.state)], rows[0])
        else:
            scalars = self._vector(rows).to(self._point.dtype).unbind()
            self._advance(self.inside, [(self._point, self._gradient, self.state)], scalars)

    def theta(self) -> Tensor:
        """The iterates, in the shape of the points given: not the points where the gradient is taken."""
        if self.rule.iterate is None:
            return self.point.clone()
        mixing: Scalar = self.memories[0]["mixing"]
        return self.rule.iterate(self.point, *self.state, mixing)

    def _pieces(self) -> list[tuple[Tensor, Tensor, State]]:
        """What a compiled step goes over: coordinate by coordinate, if they are few, so that no index is computed."""
        if len(self._point) > FEW:
            return [(self._point, self._gradient, self.state)]
        return [
            (point, g, [None if s is None else s[row] for s in self.state])
            for row, (point, g) in enumerate(zip(self._point, self._gradient, strict=True))
        ]

    def _arguments(self) -> list[Tensor]:
        """The pieces' tensors, one after the other."""
        return [t for point, g, state in self._pieces() for t in (point, g, *state) if t is not None]

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
        """The field, writing its second argument, for the compiler."""
        from torch.fx.experimental.proxy_tensor import make_fx  # takes a second to import

        # Traced on its own first: the compiler cannot follow every formula's backward pass itself. No two axes of the
        # example may be equally long, or they are taken for one.
        n = len(self._point)
        example = self._point.new_ones([n, n + 3, n + 5][: self._point.dim()])
        traced = make_fx(self._field, tracing_mode="symbolic", _allow_non_fake_inputs=True)(example)

        def field(point: Tensor, gradient: Tensor) -> None:
            gradient.copy_(traced(point))

        return field

    def _advance_flat(self, inside: Tensor, *rest: Tensor) -> None:
        """`_advance` from `_arguments` and the scalars as one tensor, for the compiler."""
        *tensors, scalars = rest
        if scalars.dim() > 1:
            scalars = scalars.to(self._point.dtype)
        given = iter(tensors)
        pieces = [
            (next(given), next(given), [next(given) if there else None for there in self._kept])
            for _ in self._pieces()
        ]
        self._advance(inside, pieces, scalars.unbind())

    def _advance(
        self, inside: Tensor, pieces: Sequence[tuple[Tensor, Tensor, State]], scalars: Sequence[Scalar]
    ) -> None:
        """One step of all pieces, in place."""
        *others, bound, t = scalars
        # A comparison with NaN is false, so what was lost stays lost.
        still = inside == t - 1
        steps: list[tuple[Tensor, Tensor, State, State]] = []
        for point, g, state in pieces:
            moved, news = self.rule.advance(point, -g if self._maximize else g, state, others)
            near = moved.abs() <= bound
            still = still & (near if near.dim() == inside.dim() else near.all(0))
            steps.append((point, moved, state, news))
        for point, moved, state, news in steps:
            point.copy_(moved)
            write(state, news)
        inside.copy_(torch.where(still, inside + 1, inside))
