"""The search by Hessian products alone, with steps from Krylov spaces of H and g."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.curvature.critical.dense_search import FAR, FLAT, GAIN, WINDOW, Ends, Outcome, Rule
from thalweg.curvature.critical.derivatives import Derivatives
from thalweg.curvature.critical.trust_region import (
    index_step,
    judged_by_agreement,
    judged_by_decrease,
    within,
)
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.basis import Basis

INNER = 60
"""Most products of one step, each of which holds a vector."""

_TRIALS = 8


@dataclass(frozen=True)
class Step:
    """A step (n,), its length, and the gradient (n,) that the Hessian promises behind it."""

    vector: Tensor
    length: float
    promised: Tensor


@dataclass(frozen=True)
class KrylovSpace:
    """An orthonormal basis V of span{g, Hg, …} and H on it: HV = V₊T with V₊ one column longer than V.

    `projected` is T (k + 1, k), in float64 on the CPU; g is `size` times the first column.
    """

    basis: Basis
    projected: Tensor
    size: float

    @property
    def largest(self) -> float:
        """The largest singular value of T: abs(λ)max as far as the space shows it."""
        return float(torch.linalg.matrix_norm(self.projected, 2))

    @property
    def flatness(self) -> float:
        """‖Hg‖ / (abs(λ)max ‖g‖)."""
        return float(self.projected[:, 0].norm()) / max(self.largest, torch.finfo(torch.float64).tiny)

    def least_squares(self, radius: float) -> Tensor:
        """The p (k,) in the basis that minimizes ‖g + Hp‖ with ‖p‖ ≤ radius."""
        left, scales, right = torch.linalg.svd(self.projected, full_matrices=False)
        small = scales <= self._roundoff * scales.max()
        pull = torch.where(small, 0.0, -self.size * scales * left[0])
        stiffness = torch.where(small, 1.0, scales.square())
        return right.T @ within(stiffness[None], pull[None], torch.tensor([radius]).double())[0]

    def newton(self, radius: float) -> Tensor:
        """The p (k,) in the basis uphill along Ritz vectors with negative values and downhill along the others."""
        square = self.projected[:-1]
        values, vectors = torch.linalg.eigh((square + square.T) / 2)
        slope, limit = self.size * vectors[0], torch.tensor([radius]).double()
        return vectors @ index_step(values[None], slope[None], limit, (values < 0).sum()[None])[0]

    def left(self, local: Tensor) -> float:
        """‖g + Hp‖ / ‖g‖ for p = V · local."""
        return float(self._behind(local).norm()) / self.size

    def step(self, local: Tensor) -> Step:
        """V · local, for `local` (k,)."""
        columns = self.basis.leading[:, : len(local) + 1]
        behind = self._behind(local).to(columns)
        return Step(columns[:, :-1] @ local.to(columns), float(local.norm()), columns @ behind)

    def _behind(self, local: Tensor) -> Tensor:
        behind = self.projected @ local
        behind[0] += self.size
        return behind

    @property
    def _roundoff(self) -> float:
        return 10 * self.projected.shape[1] * torch.finfo(self.basis.leading.dtype).eps


def krylov_space(operator: SymmetricOperator, slope: Tensor, radius: float, most: int) -> KrylovSpace:
    """The Krylov space of H and g = `slope` (n,), grown until it holds a good step within the radius.

    That is when ‖g + Hp‖ is a tenth of ‖g‖, or twelve more columns lower it by less than a hundredth, or there are
    `most` columns, or the space is exhausted. `most` + 2 vectors are held.
    """
    size = float(slope.norm())
    most = min(most, operator.shape[0])
    basis = Basis(operator, most + 1)
    basis.set(0, slope / size)
    projected = torch.zeros(most + 1, most, dtype=torch.float64)
    left: list[float] = []
    count = 0
    while True:
        image = operator @ basis.column(count)
        scale = float(image.norm())
        projected[: count + 1, count] = basis.orthogonalize(image, count + 1).double().cpu()
        beta = float(image.norm())
        count += 1
        exhausted = beta <= 10 * torch.finfo(slope.dtype).eps * scale
        projected[count, count - 1] = 0.0 if exhausted else beta
        basis.set(count, image if exhausted else image / beta)
        space = KrylovSpace(basis, projected[: count + 1, :count], size)
        if exhausted or count == most:
            return space
        if count % 4 == 0:
            left.append(space.left(space.least_squares(radius)))
            if left[-1] <= 0.1 or (len(left) > 3 and left[-1] > 0.99 * left[-4]):
                return space


def krylov_search(
    derivatives: Derivatives, starts: Tensor, rule: Rule, *, tol: float, reach: float, max_steps: int
) -> Ends:
    """Search from each start (b, n), one after the other, by at most `max_steps` steps of `INNER` products.

    The rules are those of `DenseSearch`, on Ritz pairs; the index headed for is the number of negative Ritz values at
    each step. Besides what a Hessian product holds, INNER + 6 vectors are held.
    """
    walks = [_Walk(derivatives, start, rule, tol, reach) for start in starts]
    outcomes: tuple[Outcome, ...] = tuple(walk.run(max_steps) for walk in walks)
    return Ends(
        torch.stack([walk.point for walk in walks]),
        torch.stack([walk.slope.norm() for walk in walks]),
        torch.tensor([walk.error for walk in walks]).to(starts),
        outcomes,
    )


class _Walk:
    def __init__(self, derivatives: Derivatives, start: Tensor, rule: Rule, tol: float, reach: float) -> None:
        self.derivatives, self.rule, self.tol, self.reach = derivatives, rule, tol, reach
        self.start = self.point = start
        self.slope = derivatives.gradient(start[None])[0]
        self.widest = max(1.0, float(start.norm()))
        self.radius = 0.3 * self.widest
        self.error = float("nan")
        self.flatness = 1.0

    def run(self, max_steps: int) -> Outcome:
        sizes: list[float] = []
        for _ in range(max_steps):
            if not bool(self.slope.isfinite().all()):
                return "not finite"
            if float((self.point - self.start).norm()) > self.reach:
                return "escaped"
            sizes.append(float(self.slope.norm()))
            if sizes[-1] == 0:
                self.error = 0.0
                return "converged"
            with hessian(self.derivatives.objective, self.point) as operator:
                space = krylov_space(operator, self.slope, self.radius, INNER)
                self.derivatives.products += operator.products
            self.flatness = space.flatness
            scale = max(1.0, float(self.point.norm()))
            if sizes[-1] <= self.tol * space.largest * scale and self._settles(space, scale):
                return "converged"
            level = len(sizes) > WINDOW and sizes[-1] > GAIN * sizes[-1 - WINDOW]
            caught = self.rule == "gradient-norm" and level and self.flatness <= FLAT
            if caught or not self._move(space):
                break
        return "impostor" if self.flatness <= FLAT else "unfinished"

    def _move(self, space: KrylovSpace) -> bool:
        """One good step; False where the space holds none."""
        for _ in range(_TRIALS):
            local = space.newton(self.radius) if self.rule == "newton" else space.least_squares(self.radius)
            step = space.step(local)
            there = self.derivatives.gradient((self.point + step.vector)[None])[0]
            good = self._judge(step, there)
            if good:
                self.point, self.slope = self.point + step.vector, there
                return True
        return False

    def _judge(self, step: Step, there: Tensor) -> bool:
        """Whether the step is good; sets the next radius."""
        size = self.slope.norm()
        length, radius = size.new_tensor(step.length), size.new_tensor(self.radius)
        if self.rule == "newton":
            miss = (there - step.promised).norm() / size
            good, radius = judged_by_agreement(miss, length, radius, size.new_tensor(self.widest))
        else:
            good, radius = judged_by_decrease(size, there.norm(), step.promised.norm(), length, radius)
        self.radius = float(radius)
        return bool(good)

    def _settles(self, space: KrylovSpace, scale: float) -> bool:
        """A last step; False where it would go far, or leaves more of ‖g‖ than rounding: see `DenseSearch`."""
        step = space.step(space.least_squares(1e3 * scale))
        if step.length > FAR * scale:
            return False
        there = self.derivatives.gradient((self.point + step.vector)[None])[0]
        after = float(there.norm())
        rounding = 1e3 * torch.finfo(there.dtype).eps * space.largest * scale * len(there) ** 0.5
        ended = after > GAIN * space.size and space.flatness > FLAT
        if after > rounding and not ended:
            return False
        self.error = 2 * step.length
        if after < space.size:
            self.point, self.slope = self.point + step.vector, there
        return True
