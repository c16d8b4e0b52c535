"""The range of a matrix on random probes."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.random_vectors import random_vectors

BLOCK = 8
"""Vectors that are multiplied at once."""

HOLD_WITHIN = 2**30
"""Bytes that a sketch may take unless its number of columns is given."""


class Sketch:
    """An orthonormal basis Q of the images Y = AΩ = QR of random signs Ω (n, m), grown as far as it is wanted.

    Held are Q, the images AQ where they are wanted, and Ω in a byte each; all else is m × m, in float64 on the CPU.
    `exhausted` when a further image lay in the range of the earlier ones: then, but for cases of probability zero, the
    range is all of A's and A = QQᵀA.
    """

    def __init__(self, operator: SymmetricOperator, draw: torch.Generator, *, images: bool) -> None:
        self.operator = operator
        self.exhausted = False
        self._draw = draw
        self._wants_images = images
        self._basis: list[Tensor] = []
        self._images: list[Tensor] = []
        self._signs: list[Tensor] = []
        empty = torch.zeros(0, 0, dtype=torch.float64)
        self.coefficients = empty
        """R (m, m), upper triangular: QᵀAΩ."""
        self.projected = empty
        """H (m, m): QᵀAQ."""
        self.inside = empty
        """W (m, m): QᵀΩ."""
        self.gram = empty
        """G (m, m): (AQ)ᵀAQ, where images are held."""

    @property
    def columns(self) -> int:
        """m, the number of columns so far."""
        return self.coefficients.shape[0]

    def grow(self, count: int) -> int:
        """Draw `count` further probes at two products each; how many there were before the range was exhausted."""
        before = self.columns
        while not self.exhausted and self.columns - before < count:
            self._extend(min(BLOCK, count - self.columns + before))
        return self.columns - before

    def _extend(self, count: int) -> None:
        signs = random_vectors(self.operator, count, self._draw, "rademacher")
        images = self.operator @ signs
        kept = self._orthonormalize(images)
        self.exhausted = kept < count
        if not kept:
            return
        # `images` is the basis of the new directions from here on.
        fresh = images[:, :kept].clone() if kept < count else images
        self._basis.append(fresh)
        self._signs.append(signs[:, :kept].to(torch.int8))
        del images, signs
        self._project(fresh)

    def _orthonormalize(self, images: Tensor) -> int:
        """Replace `images` (n, b) by a basis of what they hold off the range so far, and note their coefficients.

        How many have something there, beyond rounding; those after the first that has nothing are not looked at.
        """
        lengths = images.norm(dim=0).double().cpu()
        m, count = self.columns, images.shape[1]
        total = torch.zeros(m, count, dtype=torch.float64)
        triangle = torch.eye(count, dtype=torch.float64)
        # Classical Gram-Schmidt twice is enough (Giraud et al. 2005).
        for _ in range(2):
            components = self.within(images)
            self._subtract(images, components)
            q, r = torch.linalg.qr(images)
            images.copy_(q)
            total += components @ triangle
            triangle = r.double().cpu() @ triangle
        none = triangle.diagonal().abs() <= 10 * torch.finfo(images.dtype).eps * lengths
        kept = int(none.nonzero()[0]) if bool(none.any()) else count
        coefficients = _enlarged(self.coefficients, kept)
        coefficients[:m, m:] = total[:, :kept]
        coefficients[m:, m:] = triangle[:kept, :kept]
        self.coefficients = coefficients
        return kept

    def _project(self, fresh: Tensor) -> None:
        """Extend the m × m matrices by the newest columns of the basis, which `fresh` (n, b) are, and of the signs."""
        old, kept = self.columns - fresh.shape[1], fresh.shape[1]
        inside = _enlarged(self.inside, kept)
        inside[:, old:] = self.within(self._signs[-1].to(fresh.dtype))
        start = 0
        for signs in self._signs:
            stop = start + signs.shape[1]
            inside[old:, start:stop] = (fresh.T @ signs.to(fresh.dtype)).double().cpu()
            start = stop
        self.inside = inside
        images = self.operator @ fresh
        columns = self.within(images)
        corner = columns[old:]
        self.projected = _bordered(self.projected, columns)
        self.operator.require_symmetry(float((corner - corner.T).norm()), float(self.projected.norm()))
        if self._wants_images:
            self._images.append(images)
            self.gram = _bordered(self.gram, _products(self._images, images))

    def within(self, v: Tensor) -> Tensor:
        """Qᵀv for v (n, k): (m, k), in float64 on the CPU."""
        return _products(self._basis, v)

    def _subtract(self, v: Tensor, components: Tensor) -> None:
        start = 0
        for block in self._basis:
            part = components[start : start + block.shape[1]].to(v.device, v.dtype)
            v.addmm_(block, part, alpha=-1)
            start += block.shape[1]

    def deflate(self, v: Tensor) -> Tensor:
        """Remove from v (n, k) its part in the range, in place; v itself."""
        self._subtract(v, self.within(v))
        return v

    def rows(self, span: slice | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some rows of Q, AQ and Ω, shape (r, m) each."""
        q, images, signs = (
            torch.cat([block[span] for block in blocks], 1)
            for blocks in (self._basis, self._images, self._signs)
        )
        return q, images, signs.to(self.operator.dtype)


def room(operator: SymmetricOperator, *, images: bool) -> int:
    """How many columns a sketch may have within HOLD_WITHIN bytes."""
    bytes_each = operator.shape[0] * (operator.dtype.itemsize * (2 if images else 1) + 1)
    return max(HOLD_WITHIN // bytes_each, 1)


def _products(blocks: list[Tensor], v: Tensor) -> Tensor:
    """The scalar products of the columns of each block with those of v (n, k): (m, k), in float64 on the CPU."""
    if not blocks:
        return torch.zeros(0, v.shape[1], dtype=torch.float64)
    return torch.cat([block.T @ v for block in blocks]).double().cpu()


def _enlarged(matrix: Tensor, by: int) -> Tensor:
    size = matrix.shape[0]
    larger = torch.zeros(size + by, size + by, dtype=torch.float64)
    larger[:size, :size] = matrix
    return larger


def _bordered(matrix: Tensor, columns: Tensor) -> Tensor:
    """The symmetric matrix with these last columns."""
    old, size = matrix.shape[0], columns.shape[0]
    larger = _enlarged(matrix, size - old)
    larger[:, old:] = columns
    larger[old:, :old] = columns[:old].T
    larger[old:, old:] = (columns[old:] + columns[old:].T) / 2
    return larger
