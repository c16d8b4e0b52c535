"""Values of a diagonal with each probe in turn measured off the range of the others."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.estimators.left_out import lost_directions, second_directions, without
from thalweg.curvature.estimators.sketch import Sketch
from thalweg.curvature.estimators.stopping import standard_error

ROWS = 256
"""Entries of the diagonal, spread over all, from which what the values of one entry share is estimated."""

NUMBERS = 2**17
"""Numbers per temporary when the rows of a sketch are gone through."""


class DiagonalValues:
    """Values whose mean is the diagonal of A: exact on the sketch's range, v∘(I−P)A(I−P)v for probes v off it."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        operator = sketch.operator
        self._count = 0
        self._mean = torch.zeros(operator.shape[0], dtype=operator.dtype, device=operator.device)
        self._squares = torch.zeros_like(self._mean)

    def add(self, probes: Tensor) -> None:
        """Take further probes (n, b), off the whole range."""
        image = self.sketch.deflate(self.sketch.operator @ self.sketch.deflate(probes.clone()))
        for value in image.mul_(probes).unbind(1):
            self._count += 1
            step = value - self._mean
            self._mean.add_(step, alpha=1 / self._count)
            self._squares.addcmul_(step, value - self._mean)

    def mean(self) -> tuple[Tensor, Tensor]:
        """The diagonal (n,) and its standard errors (n,); without error where the sketch holds all of the range."""
        m = self.sketch.columns
        if self.sketch.exhausted:
            value = torch.zeros_like(self._mean)
            for span in self._spans() if m else []:
                value[span] = _Rows(self.sketch, span).exact
            return value, torch.zeros_like(value)
        if not m:
            return self._mean.clone(), standard_error(self._squares, self._count)
        inflation = 1 + self._shared()
        value, stderr = torch.empty_like(self._mean), torch.empty_like(self._mean)
        count = self._count + m
        for span in self._spans():
            rows = _Rows(self.sketch, span)
            left_out = rows.values()
            mine, theirs = left_out.mean(1), rows.exact + self._mean[span]
            gap = theirs - mine if self._count else torch.zeros_like(mine)
            squares = inflation * (left_out - mine[:, None]).square().sum(1) + self._squares[span]
            value[span] = mine + gap * (self._count / count)
            stderr[span] = standard_error(squares + gap.square() * (m * self._count / count), count)
        return value, stderr

    def _spans(self) -> list[slice]:
        size = self.sketch.operator.shape[0]
        step = max(NUMBERS // self.sketch.columns, 1)
        return [slice(start, min(start + step, size)) for start in range(0, size, step)]

    def _shared(self) -> float:
        """Σᵢⱼ δᵢⱼδⱼᵢ over Σᵢ(value − mean)², both summed over some rows: what correlation adds to the variance."""
        size = self.sketch.operator.shape[0]
        chosen = torch.linspace(0, size - 1, min(size, ROWS), dtype=torch.float64).round().long()
        rows = _Rows(self.sketch, chosen.to(self._mean.device))
        found = rows.values()
        spread = float((found - found.mean(1, keepdim=True)).square().sum(dtype=torch.float64))
        return max(rows.shared(found) / spread, 0.0) if spread else 0.0


class _Rows:
    """Some rows of a sketch, and the diagonal's values there, of shape (r, m)."""

    def __init__(self, sketch: Sketch, span: slice | Tensor) -> None:
        self._q, image, self._signs = sketch.rows(span)
        self._h, self._r, self._w = sketch.projected, sketch.coefficients, sketch.inside
        self._lost = lost_directions(sketch)
        ranged = self._times(self._q, self._h)
        # Without P both sides of a vector's product: AQ − QH is what A takes out of the range.
        self._leaving = image - ranged
        self.exact = (self._q * (2 * image - ranged)).sum(1)
        """diag(PA + AP − PAP) with P = QQᵀ."""

    def values(self) -> Tensor:
        """The value of each probe, off the range of the others."""
        lost, u = self._lost, self._times(self._q, self._lost)
        base = self.exact[:, None] - u * (2 * self._times(self._leaving, lost) + u * self._forms(lost, lost))
        x = without(self._w, lost)
        return base + self._signs * self._off_range(x, self._r, [(u, lost)])

    def shared(self, found: Tensor) -> float:
        """Σ δᵢⱼδⱼᵢ over pairs of probes and over rows, where `found` are the values."""
        second = second_directions(self._lost)
        pairs, m = second.shape[:2]
        # Probe i along the first dimension, probe j along the last.
        first = self._lost.T[:pairs, :, None]
        a, b = self._times(self._q, first), self._times(self._q, second)
        base = self.exact[:, None] - a * (
            2 * self._times(self._leaving, first) + a * self._forms(first, first)
        )
        base = base - b * (
            2 * self._times(self._leaving, second)
            + b * self._forms(second, second)
            + 2 * a * self._forms(second, first)
        )
        gone = [(a, first), (b, second)]
        theirs, mine = (
            base + signs * self._off_range(without(without(w, first), second), r, gone)
            for w, r, signs in (
                (self._w, self._r, self._signs),
                (*(part.T[:pairs, :, None] for part in (self._w, self._r, self._signs)),),
            )
        )
        products = (found - theirs) * (found.T[:pairs, :, None] - mine)
        same = torch.arange(pairs, device=products.device)
        products[same, :, same] = 0
        return float(products.sum(dtype=torch.float64)) * m / pairs

    def _off_range(self, x: Tensor, r: Tensor, gone: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(I − P)A(I − P)ω for probes with Pω = Qx and Aω = Qr, where P lacks the directions `gone`."""
        rest = r - self._h @ x
        image = -self._times(self._leaving, x)
        for rows, directions in gone:
            image = image + rows * self._cast((directions * rest).sum(-2, keepdim=True))
        return image

    def _forms(self, x: Tensor, y: Tensor) -> Tensor:
        return self._cast((x * (self._h @ y)).sum(-2, keepdim=True))

    def _times(self, rows: Tensor, small: Tensor) -> Tensor:
        return rows @ self._cast(small)

    def _cast(self, small: Tensor) -> Tensor:
        return small.to(self._q.device, self._q.dtype)
