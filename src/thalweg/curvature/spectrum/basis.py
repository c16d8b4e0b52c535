"""An orthonormal basis of a Krylov space that is grown, rotated and shrunk in the memory it has."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator


class Basis:
    """Room for `capacity` columns of length n, the first `leading` of which outlive the rest.

    The leading columns are an allocation of their own: a result that keeps them does not keep the others.
    """

    def __init__(self, operator: SymmetricOperator, leading: int, capacity: int | None = None) -> None:
        size = operator.shape[0]
        rest = (leading if capacity is None else capacity) - leading
        # Columns are contiguous: each is read and written as a whole.
        self.leading = torch.empty(leading, size, dtype=operator.dtype, device=operator.device).T
        self._rest = torch.empty(rest, size, dtype=operator.dtype, device=operator.device).T

    def column(self, index: int) -> Tensor:
        """Column `index`, shape (n,); a view."""
        split = self.leading.shape[1]
        return self.leading[:, index] if index < split else self._rest[:, index - split]

    def set(self, index: int, vector: Tensor) -> None:
        """Write `vector` (n,) into column `index`."""
        self.column(index).copy_(vector)

    def panels(self, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` columns in two pieces, the leading ones among them (n, a) and the rest (n, b); views."""
        split = min(count, self.leading.shape[1])
        return self.leading[:, :split], self._rest[:, : count - split]

    def combine(self, weights: Tensor, into: Tensor) -> None:
        """Write the first columns times their `weights` (count,) into `into` (n,)."""
        weights = weights.to(into.device, into.dtype)
        into.zero_()
        self._add(into, weights, 1.0)

    def subtract(self, weights: Tensor, of: Tensor) -> None:
        """Take the first columns times their `weights` (count,) away from `of` (n,), in place."""
        self._add(of, weights.to(of.device, of.dtype), -1.0)

    def orthogonalize(self, vector: Tensor, count: int) -> Tensor:
        """Remove from `vector` (n,) its components in the first `count` columns, in place; return them, (count,).

        Classical Gram-Schmidt twice, which is enough (Giraud et al. 2005).
        """
        panels = self.panels(count)
        total = torch.zeros(count, dtype=vector.dtype, device=vector.device)
        for _ in range(2):
            components = torch.cat([panel.T @ vector for panel in panels])
            self._add(vector, components, -1.0)
            total += components
        return total

    def rotate(self, rotation: Tensor) -> None:
        """Replace the first j columns by themselves times `rotation` (i, j), where i columns are in use.

        The other columns stay as they are.
        """
        used, columns = rotation.shape
        split = min(used, self.leading.shape[1])
        rotation = rotation.to(self.leading.device, self.leading.dtype)
        for span in _blocks(self.leading.shape[0], used):
            both = torch.cat([self.leading[span, :split], self._rest[span, : used - split]], 1) @ rotation
            kept = min(columns, split)
            self.leading[span, :kept] = both[:, :kept]
            self._rest[span, : columns - kept] = both[:, kept:]

    def reflect(self, normal: Tensor, first: int) -> None:
        """Replace the columns from `first` on by columns · (I − 2zzᵀ), z = `normal` (w,) of unit length."""
        normal = normal.to(self.leading.device, self.leading.dtype)
        split = self.leading.shape[1]
        left = self.leading[:, first : first + len(normal)]
        start = max(first - split, 0)
        right = self._rest[:, start : start + len(normal) - left.shape[1]]
        ahead, behind = normal[: left.shape[1]], normal[left.shape[1] :]
        for span in _blocks(left.shape[0], len(normal)):
            twice = 2 * (left[span] @ ahead + right[span] @ behind)
            left[span] -= torch.outer(twice, ahead)
            right[span] -= torch.outer(twice, behind)

    def release(self) -> None:
        """Free all columns but the leading ones."""
        self._rest = self._rest.new_empty(0, self.leading.shape[0]).T

    def _add(self, vector: Tensor, weights: Tensor, sign: float) -> None:
        left, right = self.panels(len(weights))
        vector.addmv_(left, weights[: left.shape[1]], alpha=sign)
        vector.addmv_(right, weights[left.shape[1] :], alpha=sign)


def rotate(columns: Tensor, rotation: Tensor) -> None:
    """Replace `columns` (n, k) by columns · rotation (k, k), in blocks of rows: no second copy is held."""
    rotation = rotation.to(columns.device, columns.dtype)
    for span in _blocks(*columns.shape):
        columns[span] = columns[span] @ rotation


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows so short that three copies of one take no more memory than one column, or few rows in all."""
    step = min(max(rows // (3 * columns), 512), 65536)
    return (slice(start, start + step) for start in range(0, rows, step))
