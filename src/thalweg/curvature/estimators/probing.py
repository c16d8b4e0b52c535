"""Spending products on random probes: a sketch while that pays, plain probes off its range afterwards."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.curvature.estimators.sketch import BLOCK, Sketch
from thalweg.curvature.estimators.stopping import Goal, Summary, until
from thalweg.curvature.random_vectors import random_vectors


class Probing:
    """Probes until a goal is met or `limit` products of the operator, counted from its first, are spent.

    While the sketch grows each probe costs two products, one for its image and one for that of the new direction, and
    is measured by the range of the others: its value has little variance left where eigenvalues decay. Where they do
    not, a plain probe off the range, at one product, is the better buy: the sketch stops growing when an enlargement
    made the standard error larger than as many products of plain probes would have, or at `capacity` columns.
    The values of plain probes and of those left out in turn are unbiased, so all count alike.

    add: takes plain signs (n, b) as probes, at one product each. summary: the size of the estimate from all probes,
    those that made the sketch included, and its standard error.
    """

    def __init__(
        self,
        sketch: Sketch,
        add: Callable[[Tensor], None],
        summary: Callable[[], Summary],
        draw: torch.Generator,
        capacity: int,
        limit: int,
    ) -> None:
        self._sketch = sketch
        self._operator = sketch.operator
        self._add, self._summary = add, summary
        self._draw, self._limit = draw, limit
        self._room = capacity
        """Columns that the sketch may still grow by."""
        self._last: tuple[int, float] | None = None

    def run(self, goal: Goal, least: int) -> tuple[Summary, bool]:
        """The last summary and whether the goal was met; at least `least` probes are taken."""
        return until(goal, self._advance, least, self._affordable)

    def _affordable(self) -> int:
        if self._sketch.exhausted:
            return 0
        left = self._limit - self._operator.products
        return left // 2 if left <= 2 * self._room else left - self._room

    def _advance(self, count: int) -> Summary:
        grown = min(count, self._room)
        before = self._sketch.columns
        self._sketch.grow(grown)
        self._room -= grown
        if not self._sketch.exhausted:
            for start in range(grown, count, BLOCK):
                size = min(BLOCK, count - start)
                self._add(random_vectors(self._operator, size, self._draw, "rademacher"))
        size, stderr = self._summary()
        if grown == count:
            if before and self._last is not None and not self._paid(before, stderr):
                self._room = 0
            self._last = before + grown, stderr
        return size, stderr

    def _paid(self, before: int, stderr: float) -> bool:
        assert self._last is not None
        probes, earlier = self._last
        spent = 2 * (self._sketch.columns - before)
        return stderr**2 * (probes + spent) <= earlier**2 * probes
