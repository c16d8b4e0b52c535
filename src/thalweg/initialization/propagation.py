"""How large signals and gradients are along the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thalweg.initialization.flow import RESIDUAL, LayerUse
from thalweg.initialization.signals import Passage


@dataclass(frozen=True)
class LayerSignal:
    """What one call of a layer passes on.

    name: the module's, with the number of the call when there are several. shape: of the output.
    mean_square: of the output's entries; spread: the fraction of it that differs between samples (NaN for one
    sample). gradient: mean square of the gradient with respect to the output, None where none arrives.
    weight_gradient: norm of the gradient with respect to the weights, all calls together.
    activation: what follows, None when not seen; dead: fraction of units a ReLU keeps at zero for the whole batch;
    saturated: fraction of outputs of a sigmoid or tanh within 1 % of an end of its range.
    level: mean_square relative to the first layer since the signal was last normalized. gradient_level: the
    gradient's square per sample and unit (summed over pixels or tokens) relative to that at the last layer, for a
    layer inside a residual branch to that at the branch's last.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    mean_square: float
    spread: float
    gradient: float | None
    weight_gradient: float | None
    activation: str | None
    dead: float | None
    saturated: float | None
    level: float
    gradient_level: float | None

    @property
    def scale(self) -> float:
        """Root mean square of the output."""
        return math.sqrt(self.mean_square) if self.mean_square >= 0 else math.nan

    @property
    def gradient_scale(self) -> float:
        """Root mean square of the gradient with respect to the output, NaN where none arrives."""
        return (
            math.nan
            if self.gradient is None
            else math.sqrt(self.gradient)
            if self.gradient >= 0
            else math.nan
        )


def layer_signals(passages: Sequence[Passage]) -> tuple[LayerSignal, ...]:
    """The signals of the recorded calls, in order."""
    home = {use: passage for passage in passages for use in passage.uses}
    calls: dict[str, int] = {}
    for passage in passages:
        calls[passage.name] = calls.get(passage.name, 0) + 1
    seen: dict[str, int] = {}
    last = _last(passages)
    found: list[LayerSignal] = []
    for passage in passages:
        seen[passage.name] = number_of_call = seen.get(passage.name, 0) + 1
        several = calls[passage.name] > 1
        use = passage.use
        start = home.get(use.start) if use is not None and use.start is not None else passages[0]
        end = branch_end(passage, home)
        found.append(
            LayerSignal(
                f"{passage.name} (call {number_of_call})" if several else passage.name,
                type(passage.module).__name__,
                tuple(passage.output.shape),
                passage.mean_square,
                passage.spread,
                passage.gradient,
                passage.weight_gradient,
                None if use is None or use.activation == RESIDUAL else use.activation,
                None if use is None else use.dead,
                None if use is None else use.saturated,
                _ratio(passage.mean_square, (start or passage).mean_square),
                _gradient_ratio(passage, end if end is not None and end is not passage else last),
            )
        )
    return tuple(found)


def slope_per_layer(values: Sequence[float]) -> float:
    """The least-squares slope of log2 of the positive, finite values against their index; NaN for fewer than two."""
    points = [(i, math.log2(value)) for i, value in enumerate(values) if value > 0 and math.isfinite(value)]
    if len(points) < 2:
        return math.nan
    middle = sum(i for i, _ in points) / len(points)
    return sum((i - middle) * y for i, y in points) / sum((i - middle) ** 2 for i, _ in points)


def branch_end(passage: Passage, home: dict[LayerUse, Passage]) -> Passage | None:
    """The last layer of the residual branch that the passage is in, None for one outside; `home` has each use's own."""
    use = passage.use
    return None if use is None or use.branch_end is None else home.get(use.branch_end)


def _last(passages: Sequence[Passage]) -> Passage | None:
    """The last layer with a gradient; a head of zeros passes none on and says nothing about those before it."""
    reached = [p for p in passages if p.gradient is not None and p.gradient > 0]
    return next((p for p in reversed(reached) if not p.silent), reached[-1] if reached else None)


def _gradient_ratio(passage: Passage, reference: Passage | None) -> float | None:
    own, last = passage.gradient_energy, None if reference is None else reference.gradient_energy
    return None if own is None or last is None else _ratio(own, last)


def _ratio(value: float, reference: float) -> float:
    # Nothing out of nothing is no loss.
    if reference == 0:
        return 1.0 if value == 0 else math.inf
    return value / reference
