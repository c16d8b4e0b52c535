"""The band Lanczos relation A V = V H + Q C, grown by a product at a time and compressed without any."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.random_vectors import random_vectors
from thalweg.curvature.spectrum.basis import Basis


class Decomposition:
    """A V = V H + Q C with orthonormal columns [V Q].

    V (n, m) spans what has been multiplied, H = VᵀAV (m, m). Q (n, w) holds the directions that wait for a product:
    starts, and what the products so far had outside V; C (w, m) says how much. A single start makes one direction wait
    at any time, and H tridiagonal: the Lanczos recurrence. H, C and the witnesses are float64 on the CPU.

    witnesses: (m + w, 2), the coordinates in [V Q] of two random vectors with independent standard normal entries:
        the start and one that was drawn later. A column of NaN is a witness that there is not: no longer since its
        coordinates were discarded.

    Sources: Ruhe (1979), Implementation aspects of band Lanczos algorithms; Wu & Simon (2000), Thick-restart Lanczos
    method for large symmetric eigenvalue problems.
    """

    def __init__(
        self, operator: SymmetricOperator, leading: int, capacity: int, draw: torch.Generator
    ) -> None:
        self.operator = operator
        self.capacity = capacity
        self.draw = draw
        self.basis = Basis(operator, leading, capacity)
        self.projected = torch.zeros(0, 0, dtype=torch.float64)
        self.coupling = torch.zeros(0, 0, dtype=torch.float64)
        self.witnesses = torch.full((0, 2), torch.nan, dtype=torch.float64)
        self.scale = 0.0
        # False while columns are overwritten: an interrupt there leaves nothing to be saved.
        self.whole = True

    @property
    def size(self) -> int:
        """m, the dimension of the space V."""
        return self.projected.shape[0]

    @property
    def waiting(self) -> int:
        """w, the directions in Q."""
        return self.coupling.shape[0]

    @property
    def room(self) -> int:
        """Products until the basis is full."""
        return self.capacity - self.size - self.waiting

    def admit(self, vector: Tensor) -> bool:
        """Let what `vector` (n,) has outside [V Q] wait; whether it has anything there."""
        count = self.size + self.waiting
        column = self.basis.column(count)
        column.copy_(vector)
        before = float(column.norm())
        self.basis.orthogonalize(column, count)
        norm = float(column.norm())
        if norm <= 10 * torch.finfo(column.dtype).eps * before:
            return False
        column.div_(norm)
        self._append(torch.full((1, 2), torch.nan, dtype=torch.float64))
        return True

    def admit_random(self, witness: int) -> None:
        """Draw a random vector, let it wait and make it the witness of that number, 0 (the start) or 1."""
        count = self.size + self.waiting
        column = self.basis.column(count)
        column.copy_(random_vectors(self.operator, 1, self.draw)[:, 0])
        coordinates = self.basis.orthogonalize(column, count)
        norm = column.norm()
        column.div_(norm)
        self._append(torch.zeros(1, 2, dtype=torch.float64))
        self.witnesses[:, witness] = torch.cat([coordinates, norm[None]]).double().cpu()

    def expand(self) -> None:
        """Multiply the first direction that waits and move it into V; a `room` of at least 1 is needed.

        Raises InvalidArgument when the product shows that A is not symmetric.
        """
        size, count = self.size, self.size + self.waiting
        image = self.operator @ self.basis.column(size)
        seen = self.basis.orthogonalize(image, count).double().cpu()
        beta = float(image.norm())
        self.scale = max(self.scale, float(torch.cat([seen, seen.new_tensor([beta])]).norm()))
        # vᵀAw for w in V, which this product shows, against wᵀAv, which earlier ones showed.
        self.operator.require_symmetry(float((seen[:size] - self.coupling[0]).norm()), self.scale)
        projected = torch.zeros(size + 1, size + 1, dtype=torch.float64)
        projected[:size, :size] = self.projected
        projected[size, :size] = projected[:size, size] = self.coupling[0]
        projected[size, size] = seen[size]
        coupling = torch.cat([self.coupling[1:], seen[size + 1 :, None]], 1)
        witnesses = self.witnesses
        # A remainder of rounding errors is no direction.
        if beta > 10 * torch.finfo(image.dtype).eps * self.scale:
            # The column after the last: nothing is lost should this be interrupted.
            torch.div(image, beta, out=self.basis.column(count))
            last = torch.zeros(1, size + 1, dtype=torch.float64)
            last[0, size] = beta
            coupling = torch.cat([coupling, last])
            witnesses = torch.cat([witnesses, 0 * witnesses[-1:]])
        self.projected, self.coupling, self.witnesses = projected, coupling, witnesses

    def prefer(self, direction: Tensor) -> None:
        """Turn the waiting directions so that Q times `direction` (w,), a unit vector, comes first."""
        if self.waiting < 2:
            return
        # A Householder reflection takes the first unit vector to ± direction.
        normal = direction.clone()
        normal[0] += 1.0 if normal[0] >= 0 else -1.0
        normal /= normal.norm()
        self.whole = False
        self.basis.reflect(normal, self.size)
        self.coupling = self.coupling - 2 * torch.outer(normal, normal @ self.coupling)
        queue = self.witnesses[self.size :]
        self.witnesses[self.size :] = queue - 2 * torch.outer(normal, normal @ queue)
        self.whole = True

    def compress(self, space: Tensor, queue: Tensor) -> None:
        """Keep [V·space, [V Q]·queue] as the new [V Q]; `space` (m, j), `queue` (m + w, i), orthonormal together.

        The relation stays exact if `queue` spans all that A V·space has outside V·space. Directions of V that are
        left out take the witnesses with them.
        """
        size = self.size
        padded = torch.cat([space, space.new_zeros(self.waiting, space.shape[1])])
        rotation = torch.cat([padded, queue], 1)
        image = torch.cat([self.projected @ space, self.coupling @ space])
        lost = rotation.shape[1] < rotation.shape[0]
        self.whole = False
        self.basis.rotate(rotation)
        projected = space.T @ image[:size]
        self.projected = (projected + projected.T) / 2
        self.coupling = queue.T @ image
        self.witnesses = rotation.T @ self.witnesses
        if lost:
            self.witnesses.fill_(torch.nan)
        self.whole = True

    def discrepancy(self, weights: Tensor) -> float:
        """‖(A V − V H − Q C)·weights‖, by one product: rounding, unless A is another matrix than it was.

        `weights` has shape (m,). Needs a `room` of at least 1.
        """
        free = self.basis.column(self.size + self.waiting)
        self.basis.combine(weights, free)
        image = self.operator @ free
        self.basis.subtract(torch.cat([self.projected @ weights, self.coupling @ weights]), image)
        return float(image.norm())

    def _append(self, coordinates: Tensor) -> None:
        row = torch.zeros(1, self.size, dtype=torch.float64)
        self.coupling = torch.cat([self.coupling, row])
        self.witnesses = torch.cat([self.witnesses, coordinates])
