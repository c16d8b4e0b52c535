"""The search for wanted eigenpairs: which direction to multiply next, and when enough was seen."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.curvature.spectrum.decomposition import Decomposition
from thalweg.curvature.spectrum.evidence import beyond, hidden, repeatable, surveyed
from thalweg.curvature.spectrum.extraction import Extraction, Which, extract, remainder

_NEAR = 5
"""How many times `tol` the residuals of given vectors may be for each of them to be multiplied."""


class Search:
    """Grows a decomposition until k pairs are within `tol`, and random vectors rule out that better ones were missed.

    A Krylov space holds one eigenvector of each eigenvalue, whatever its multiplicity, so a random start can witness
    against other eigenvalues alone. For copies a second random vector joins once the wanted pairs are there; a copy
    that it brings up is wanted too, and then another vector joins. A restart discards what the witnesses showed.
    Looking for what was missed ends at the latest when the basis is full, and is left out unless `complete`.

    norm: the largest absolute eigenvalue that showed so far.
    missed: distance beyond which no better eigenvalue was passed over, with 99 % confidence; infinite until known.
    spent: products, those before an interruption among them.
    """

    def __init__(self, state: Decomposition, k: int, which: Which, tol: float, complete: bool) -> None:
        self.state = state
        self.complete = complete
        self.k = k
        self.which: Which = which
        self.tol = tol
        self.norm = 0.0
        self.missed = math.inf
        self.spent = 0
        # What the start ruled out, and the values that were known when the second witness was drawn.
        self.cleared: float | None = None
        self.known: Tensor | None = None

    @property
    def margin(self) -> float:
        """The error that `tol` allows, and rounding does not forbid."""
        dtype = self.state.operator.dtype
        floor = torch.finfo(dtype).eps * self.state.operator.shape[0] ** 0.5
        return max(self.tol, floor) * self.norm + torch.finfo(dtype).tiny

    def begin(self, start: Tensor | None) -> None:
        """Let a random vector wait, or the columns of `start` (n, j); one product tells how to use more than one.

        Are they all but eigenvectors, each is multiplied: that they still are is then known after j products. Else
        a Krylov space is grown from a random combination of them, which is as many products ahead and loses none.
        """
        state = self.state
        if start is None:
            state.admit_random(0)
            return
        for vector in start.T:
            state.admit(vector)
        if state.waiting < 2:
            return
        combination = torch.randn(state.waiting, generator=state.draw, dtype=torch.float64)
        state.prefer(combination / combination.norm())
        state.expand()
        self.spent += 1
        image = state.coupling[:, 0]
        # The last of the directions is what the product has outside all that was given.
        if float(image[-1]) > _NEAR * self.tol * state.scale:
            # What is left out is not coupled: the relation stays exact.
            queue = torch.cat([image.new_zeros(1), image / image.norm()])[:, None]
            state.compress(torch.ones(1, 1, dtype=image.dtype), queue)

    def run(self, limit: int, progress: Callable[[bool], None]) -> Extraction:
        """The pairs found with `limit` products or fewer; `progress` is told after each, and whether it restarted."""
        state = self.state
        looked = self.spent
        while True:
            self.make_room()
            state.expand()
            self.spent += 1
            progress(False)
            last = self.spent >= limit
            # Looking takes some size³ operations, which must not add up to more than the products do.
            due = self.spent - looked >= max(1, state.size // 32) or state.room < 1 or last
            if state.size < self.k or not due:
                continue
            looked = self.spent
            found = self.look()
            if bool((found.residuals <= 0.9 * self.margin).all()):
                direction = self._doubt(found, last)
            else:
                direction = None if last else self._steepest(found)
            if direction is None:
                return found
            state.prefer(direction)
            if state.room < 1:
                self._restart(found)
                progress(True)

    @property
    def _target(self) -> float:
        """Where pairs near zero are sought: not quite at zero, where the matrix may be singular."""
        rounding = 10 * torch.finfo(self.state.operator.dtype).eps
        return min(max(0.01 * self.tol, rounding), 1e-4) * max(self.norm, self.state.scale)

    def look(self) -> Extraction:
        """The pairs as they are by now."""
        found = extract(self.state.projected, self.state.coupling, self.k, self.which, self._target)
        self.norm = max(self.norm, found.norm)
        return found

    def make_room(self) -> None:
        """Restart where the basis is full, and draw a direction where none waits."""
        if self.state.room < 1:
            self._restart(self.look())
        if not self.state.waiting:
            # The Krylov space is exhausted.
            self.state.admit_random(1)
            self.known = None

    def _steepest(self, found: Extraction) -> Tensor:
        """The waiting direction that most of the unfinished residuals point to."""
        unfinished = self.state.coupling @ found.vectors[:, found.residuals > 0.9 * self.margin]
        return torch.linalg.svd(unfinished, full_matrices=False).U[:, 0]

    def _doubt(self, found: Extraction, last: bool) -> Tensor | None:
        """Where to look for what was missed; None when there is no more to be done, and `missed` is set."""
        state, margin = self.state, self.margin
        start, second = state.witnesses.T
        final = last or state.room < 1 or not self.complete
        if self.cleared is None and not bool(start.isnan().any()):
            doubtful, direction = hidden(
                found, state.coupling, start, beyond(found, self.which, margin, margin), margin
            )
            if doubtful and not final:
                return direction
            self.cleared = surveyed(found, state.coupling, start, self.which, margin) if doubtful else margin
        copies = repeatable(found, self.which, margin)
        if self.cleared is not None and not len(copies):
            self.missed = self.cleared
            return None
        if not self.complete:
            return None
        if self.known is None or bool(second.isnan().any()) or self._changed(found):
            return None if last else self._draw(found)
        # Far away first, which is where nothing is known of directions that were never multiplied.
        near = copies if self.cleared is not None else beyond(found, self.which, margin, margin)
        places = [near] if self.cleared is not None else [beyond(found, self.which, self.norm, margin), near]
        doubts = [hidden(found, state.coupling, second, place, margin) for place in places]
        doubtful = any(doubt for doubt, _ in doubts)
        if doubtful and not final:
            return next(direction for doubt, direction in doubts if doubt)
        reached = surveyed(found, state.coupling, second, self.which, margin) if doubtful else margin
        self.missed = max(reached, self.cleared or 0.0)
        return None

    def _changed(self, found: Extraction) -> bool:
        assert self.known is not None
        return bool(((found.values - self.known).abs() > self.margin).any())

    def _draw(self, found: Extraction) -> Tensor | None:
        """Draw the second witness, with room to follow it for some products; the direction that it is."""
        state = self.state
        if state.capacity - self.k - state.waiting < 8:
            # So many directions wait that none can be followed.
            return None
        if state.room < (self.k + 18) // 2:
            self._restart(found)
        self.known = found.values
        state.admit_random(1)
        # All of it that waits, in one direction: what it is made of elsewhere is nothing new.
        waits = state.witnesses[state.size :, 1]
        return waits / waits.norm()

    def _restart(self, found: Extraction) -> None:
        """Keep the wanted pairs and half of the room beside them for the next best."""
        state = self.state
        keep = self.k + (state.capacity - state.waiting - self.k) // 2
        space, queue = remainder(
            state.projected, state.coupling, found, min(keep, state.size), self.which, self._target
        )
        state.compress(space, queue)
