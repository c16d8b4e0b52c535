"""An analytic surface: an objective given by a formula, whose critical points are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import InvalidArgument, NotDifferentiable, ShapeMismatch
from thalweg.objective.abstract import AbstractObjective, Block, Here
from thalweg.surfaces import derivatives
from thalweg.surfaces.critical_point import CriticalPoint, classified, refined
from thalweg.surfaces.derivatives import Formula


class Surface(AbstractObjective):
    """A loss over ℝⁿ given by a formula, for one point or for a batch of points at once.

    Parameters
    ----------
    name: what it is called.
    formula: the loss, from x of shape (n, ...) with coordinates on the LEADING axis to (...); torch
        operations only, and tensors it holds brought to x's type with `.to(x)`. Fast drivers call it.
    start: default point, n numbers.
    domain: the box worth looking at: (lower, upper) for every coordinate, or n such pairs.
    critical: known critical points, minima first: coordinates correct to a few digits, refined by Newton's
        method and classified by their Hessian, or finished `CriticalPoint`s.
    complete: whether `critical` is known to hold every critical point.
    global_minimum: the lowest value, where it is known.
    residuals: r(x) of shape (m, ...) with loss = ½‖r‖², for Gauss-Newton products.
    parameters: keyword arguments that make the same surface from its factory; part of the fingerprint.
    equation: the formula in LaTeX; description: one sentence; source: a reference.

    Attributes: the arguments but `start` (`point`) and `critical` (`critical_points`, `minima`), and `domain`
    as a tensor (n, 2). Tensors are float64 on the CPU; `to` gives another type. A loss that overflows or is
    undefined at a point is returned as inf or nan.

    Raises ShapeMismatch for a start that is no vector and InvalidArgument for a domain that does not fit it;
    InvalidArgument for an entry of `critical` with no critical point nearby, when they are first asked for.
    """

    batched = True

    def __init__(
        self,
        name: str,
        formula: Formula,
        start: Sequence[float] | Tensor,
        *,
        domain: tuple[float, float] | Sequence[tuple[float, float]] = (-5.0, 5.0),
        critical: Sequence[Sequence[float] | CriticalPoint] | Tensor = (),
        complete: bool = False,
        global_minimum: float | None = None,
        residuals: Formula | None = None,
        parameters: dict[str, Any] | None = None,
        equation: str = "",
        description: str = "",
        source: str = "",
    ) -> None:
        self.name = name
        self.formula = formula
        self.residuals = residuals
        self.complete = complete
        self.global_minimum = global_minimum
        self.parameters = dict(parameters or {})
        self.equation = equation
        self.description = description
        self.source = source
        self._start = torch.as_tensor(start, dtype=torch.float64)
        if self._start.dim() != 1 or not len(self._start):
            raise ShapeMismatch(f"start must have shape (n,) with n ≥ 1, got {tuple(self._start.shape)}")
        self._domain = _box(domain, len(self._start))
        self._critical = critical
        self._dtype = torch.float64
        self._device = torch.device("cpu")

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{self.name}({given})"

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Surface:
        """The same surface over points of another floating-point type or device.

        Raises InvalidArgument for a type that is not floating-point.
        """
        dtype = dtype or self._dtype
        if not dtype.is_floating_point:
            raise InvalidArgument(f"dtype must be a floating-point type, got {dtype}")
        # Not copy.copy: what is cached there has the old type.
        other = Surface.__new__(type(self))
        kept = {
            name: value for name, value in vars(self).items() if name not in ("critical_points", "minima")
        }
        vars(other).update(kept)
        other._dtype = dtype
        # The device of a tensor, for "cuda" alone is not equal to the "cuda:0" that tensors report.
        other._device = torch.empty(0, device=self._device if device is None else device).device
        return other

    @property
    def size(self) -> int:
        """Number n of coordinates."""
        return len(self._start)

    @property
    def point(self) -> Tensor:
        """The default start, shape (n,); a copy."""
        return self._start.to(self._device, self._dtype, copy=True)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of points."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Device of points."""
        return self._device

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All coordinates, as one vector x."""
        return (Block("x", (self.size,), 0),)

    @property
    def domain(self) -> Tensor:
        """Lower and upper bound per coordinate of the box worth looking at, shape (n, 2)."""
        return self._domain.to(self._device, self._dtype)

    @cached_property
    def critical_points(self) -> tuple[CriticalPoint, ...]:
        """Known critical points; all there are if `complete`."""
        given = [p for p in self._critical if isinstance(p, CriticalPoint)]
        near = [
            torch.as_tensor(p, dtype=torch.float64)
            for p in self._critical
            if not isinstance(p, CriticalPoint)
        ]
        if near:
            points = refined(self.formula, torch.stack(near))
            given += classified(self.formula, points, self.global_minimum)
        return tuple(p.to(self._dtype, self._device) for p in given)

    @cached_property
    def minima(self) -> tuple[CriticalPoint, ...]:
        """The minima among the critical points."""
        return tuple(p for p in self.critical_points if p.kind == "minimum")

    def at(self, theta: Tensor | None = None) -> SurfaceHere:
        """The surface at θ (n,), the default start when None."""
        return SurfaceHere(self, self.checked_point(theta))

    def loss(self, theta: Tensor | None = None) -> Tensor:
        """The loss at θ: (n,) gives (), a batch (b, n) gives (b,)."""
        return self.formula(self._columns(theta))

    def losses(self, thetas: Tensor) -> Tensor:
        """The loss at each row of θ (b, n), shape (b,)."""
        return self.loss(thetas)

    def gradient(self, theta: Tensor | None = None) -> Tensor:
        """The gradient at θ (n,) or at each row of θ (b, n); in θ's shape."""
        return derivatives.gradient(self.formula, self._columns(theta)).movedim(0, -1)

    def hessian(self, theta: Tensor | None = None) -> Tensor:
        """The dense Hessian at θ: (n,) gives (n, n), a batch (b, n) gives (b, n, n)."""
        return derivatives.hessian(self.formula, self._columns(theta)).movedim((0, 1), (-2, -1))

    def fingerprint(self) -> str:
        """Digest of name, parameters and dtype, and of the loss at three points, for formulas get edited."""
        lower, upper = self._domain.unbind(1)
        probes = torch.stack([lower + share * (upper - lower) for share in (0.382, 0.618, 0.854)], dim=1)
        # Seven digits, so that machines whose exp() differs in the last one agree.
        values = [f"{value:.6e}" for value in self.formula(probes).tolist()]
        text = json.dumps([self.name, self.parameters, str(self._dtype), values], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _columns(self, theta: Tensor | None) -> Tensor:
        """θ, of shape (n,) or (b, n), as columns (n,) or (n, b), or a clear error."""
        if theta is None:
            return self.point
        if not isinstance(theta, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass arrays
            return self.checked_point(theta)
        if theta.dim() not in (1, 2) or theta.shape[-1] != self.size:
            n = self.size
            raise ShapeMismatch(f"theta must have shape ({n},) or (b, {n}), got {tuple(theta.shape)}")
        return self._checked(theta.movedim(-1, 0), "theta", (1, 2)).contiguous()


class SurfaceHere(Here):
    """A surface at one point; see `Surface.at`."""

    def __init__(self, surface: Surface, theta: Tensor) -> None:
        self.surface = surface
        self.theta = theta

    def loss(self) -> Tensor:
        """The loss at θ, shape ()."""
        return self.surface.formula(self.theta)

    def gradient(self) -> Tensor:
        """The gradient at θ, shape (n,)."""
        return derivatives.gradient(self.surface.formula, self.theta)

    def hvp(self, v: Tensor) -> Tensor:
        """The Hessian at θ times v, for v of shape (n,) or (n, k)."""
        v = self.surface.checked_vectors(v)
        return derivatives.hessian_product(self.surface.formula, self._beside(v), v)

    def ggnvp(self, v: Tensor) -> Tensor:
        """JᵀJv, J the Jacobian of the residuals at θ, for v of shape (n,) or (n, k).

        Raises NotDifferentiable for a surface that is not given as a sum of squares.
        """
        if self.surface.residuals is None:
            raise NotDifferentiable(
                f"surface {self.surface.name!r} has no Gauss-Newton matrix: it is not given as a sum of "
                f"squares (residuals=); use its Hessian"
            )
        v = self.surface.checked_vectors(v)
        return derivatives.gauss_newton_product(self.surface.residuals, self._beside(v), v)

    def _beside(self, v: Tensor) -> Tensor:
        """θ once for each column of v."""
        return self.theta if v.dim() == 1 else self.theta[:, None].expand_as(v)


def _box(domain: tuple[float, float] | Sequence[tuple[float, float]], size: int) -> Tensor:
    box = torch.as_tensor(domain, dtype=torch.float64)
    if box.shape == (2,):
        box = box.expand(size, 2)
    if box.shape != (size, 2) or not bool((box[:, 0] < box[:, 1]).all()):
        raise InvalidArgument(
            f"domain must be (lower, upper) or {size} such pairs, lower < upper, got {domain}"
        )
    return box.clone()
