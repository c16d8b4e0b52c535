"""Where, along the layers, a signal is lost or blows up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from thalweg.initialization.flow import RESIDUAL, LayerUse
from thalweg.initialization.signals import Passage
from thalweg.numbers import number

Verdict: TypeAlias = Literal["healthy", "vanishing", "exploding", "not finite"]

_INDEPENDENT = 1e-20
"""Below this share of differences between samples a layer does not look at the input (learned queries)."""


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
        end = _branch_end(passage, home)
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


def judge(
    signals: Sequence[LayerSignal], passages: Sequence[Passage], limit: float
) -> tuple[Verdict, int | None, str]:
    """The verdict, the index of the first bad layer, and the reason in words."""
    home = {use: passage for passage in passages for use in passage.uses}
    widest = 0.0
    for i, (signal, passage) in enumerate(zip(signals, passages, strict=True)):
        use = passage.use
        # What a residual branch or the model itself ends in may be small or zero: nothing is lost by it.
        carries = use is None or (use.consumed and use.stream is None)
        found = _forward(signal, carries, limit, widest)
        if found is not None:
            return found[0], i, f"{signal.name}: {found[1]}"
        if not math.isnan(signal.spread) and not (use is not None and use.lookup):
            widest = max(widest, signal.spread)
    for i in reversed(range(len(signals))):
        inside = _branch_end(passages[i], home) is not None
        found = _backward(signals[i], inside, limit)
        if found is not None:
            return found[0], i, f"{signals[i].name}: {found[1]}"
    return "healthy", None, f"no layer is beyond a factor of {number(limit)} in scale, forward or back"


def slope_per_layer(values: Sequence[float]) -> float:
    """The least-squares slope of log2 of the positive, finite values against their index; NaN for fewer than two."""
    points = [(i, math.log2(value)) for i, value in enumerate(values) if value > 0 and math.isfinite(value)]
    if len(points) < 2:
        return math.nan
    middle = sum(i for i, _ in points) / len(points)
    return sum((i - middle) * y for i, y in points) / sum((i - middle) ** 2 for i, _ in points)


def _forward(signal: LayerSignal, carries: bool, limit: float, widest: float) -> tuple[Verdict, str] | None:
    if not math.isfinite(signal.mean_square):
        return "not finite", "its output is not finite"
    if signal.level > limit**2:
        return (
            "exploding",
            f"the signal explodes, its scale is {_factor(signal.level)} times the first layer's",
        )
    if not carries:
        return None
    if signal.level < limit**-2:
        return (
            "vanishing",
            f"the signal vanishes, its scale is {_factor(signal.level)} times the first layer's",
        )
    if signal.dead == 1:
        return "vanishing", "the signal vanishes, none of its units passes the ReLU for any sample"
    if _INDEPENDENT < signal.spread < limit**-2 * widest:
        share = number(signal.spread, 2)
        return (
            "vanishing",
            f"the signal vanishes, only {share} of its mean square tells one sample from another",
        )
    return None


def _backward(signal: LayerSignal, inside_branch: bool, limit: float) -> tuple[Verdict, str] | None:
    level = signal.gradient_level
    if signal.gradient is None or level is None:
        return None
    reference = "the branch's last layer's" if inside_branch else "the last layer's"
    if not math.isfinite(signal.gradient):
        return "not finite", "the gradient at its output is not finite"
    if level > limit**2:
        return (
            "exploding",
            f"going back, the gradient explodes, its scale is {_factor(level)} times {reference}",
        )
    # A branch that starts switched off, by a zero last layer or factor, gets its gradient after the first step.
    if inside_branch and signal.gradient == 0:
        return None
    if level < limit**-2:
        return (
            "vanishing",
            f"going back, the gradient vanishes, its scale is {_factor(level)} times {reference}",
        )
    return None


def _branch_end(passage: Passage, home: dict[LayerUse, Passage]) -> Passage | None:
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


def _factor(level: float) -> str:
    return number(math.sqrt(level), 2)
