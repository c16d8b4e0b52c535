"""What goes wrong with signals and gradients along the layers, the worst first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from thalweg.initialization.propagation import LayerSignal, branch_end
from thalweg.initialization.signals import Passage
from thalweg.numbers import number

Verdict: TypeAlias = Literal["healthy", "vanishing", "exploding", "not finite"]

_INDEPENDENT = 1e-20
"""Below this share of differences between samples a layer does not look at the input (learned queries)."""

_ALIKE = 1.0
"""Decades in scale within which two faults are as bad as each other: the one then causes the other."""


@dataclass(frozen=True)
class Fault:
    """One way in which the signal, or going back the gradient, is lost or blows up.

    verdict: "vanishing", "exploding" or "not finite". back: whether it is the gradient's. first: name of the layer at
    which it is first beyond the limit, the way it goes; worst: of the one at which it is furthest beyond.
    factor: what is left there in scale, root mean square: 0 where it is all lost, NaN where it is not finite.
    reason: in words, beginning with `first`.
    """

    verdict: Verdict
    back: bool
    first: str
    worst: str
    factor: float
    reason: str

    @property
    def decades(self) -> float:
        """How far off it is at its worst, in powers of ten of the scale."""
        return abs(math.log10(self.factor)) if 0 < self.factor < math.inf else math.inf


@dataclass(frozen=True)
class _Seen:
    """A fault at one layer. `rank`: of faults that are as bad, the lower comes first."""

    rank: int
    verdict: Verdict
    back: bool
    what: str
    size: str
    factor: float


def find_faults(
    signals: Sequence[LayerSignal], passages: Sequence[Passage], limit: float
) -> tuple[Fault, ...]:
    """The faults, each by its first and its worst layer; the worst fault first, or of those as bad the first cause."""
    seen: dict[tuple[int, str], list[tuple[str, _Seen]]] = {}
    for name, fault in (*_forward(signals, passages, limit), *_backward(signals, passages, limit)):
        seen.setdefault((fault.rank, fault.what), []).append((name, fault))
    ranked = sorted(((rank, _fault(places)) for (rank, _), places in seen.items()), key=lambda pair: pair[0])
    faults = [fault for _, fault in ranked]
    if not faults:
        return ()
    furthest = max(fault.decades for fault in faults)
    worst = next(fault for fault in faults if fault.decades >= furthest - _ALIKE)
    others = sorted((f for f in faults if f is not worst), key=lambda f: -f.decades)
    return (worst, *others)


def _fault(places: Sequence[tuple[str, _Seen]]) -> Fault:
    first, fault = places[0]
    worst, there = max(places, key=lambda place: _distance(place[1].factor))
    joint = ", " if worst == first else f"; at {worst} "
    reason = f"{first}: {fault.what}{joint + there.size if there.size else ''}"
    return Fault(fault.verdict, fault.back, first, worst, there.factor, reason)


def _distance(factor: float) -> float:
    return abs(math.log(factor)) if 0 < factor < math.inf else math.inf


def _forward(
    signals: Sequence[LayerSignal], passages: Sequence[Passage], limit: float
) -> Iterator[tuple[str, _Seen]]:
    widest = 0.0
    for signal, passage in zip(signals, passages, strict=True):
        use = passage.use
        # What a residual branch or the model itself ends in may be small or zero: nothing is lost by it.
        carries = use is None or (use.consumed and use.stream is None)
        found = _forward_at(signal, carries, limit, widest)
        if found is not None:
            yield signal.name, found
        if not math.isnan(signal.spread) and not (use is not None and use.lookup):
            widest = max(widest, signal.spread)


def _forward_at(signal: LayerSignal, carries: bool, limit: float, widest: float) -> _Seen | None:
    if not math.isfinite(signal.mean_square):
        return _Seen(0, "not finite", False, "its output is not finite", "", math.nan)
    factor = math.sqrt(signal.level)
    size = f"its scale is {number(factor, 2)} times the first layer's"
    if factor > limit:
        return _Seen(1, "exploding", False, "the signal explodes", size, factor)
    if not carries:
        return None
    if factor < 1 / limit:
        return _Seen(2, "vanishing", False, "the signal vanishes", size, factor)
    if signal.dead == 1:
        told = "none of its units passes the ReLU for any sample"
        return _Seen(1, "vanishing", False, "the signal vanishes", told, 0.0)
    if _INDEPENDENT < signal.spread < limit**-2 * widest:
        told = f"only {number(signal.spread, 2)} of its mean square tells one sample from another"
        return _Seen(4, "vanishing", False, "the signal vanishes", told, math.sqrt(signal.spread / widest))
    return None


def _backward(
    signals: Sequence[LayerSignal], passages: Sequence[Passage], limit: float
) -> Iterator[tuple[str, _Seen]]:
    home = {use: passage for passage in passages for use in passage.uses}
    for signal, passage in reversed(list(zip(signals, passages, strict=True))):
        found = _backward_at(signal, branch_end(passage, home) is not None, limit)
        if found is not None:
            yield signal.name, found


def _backward_at(signal: LayerSignal, inside_branch: bool, limit: float) -> _Seen | None:
    level = signal.gradient_level
    if signal.gradient is None or level is None:
        return None
    if not math.isfinite(signal.gradient):
        return _Seen(3, "not finite", True, "the gradient at its output is not finite", "", math.nan)
    # A branch that starts switched off, by a zero last layer or factor, gets its gradient after the first step.
    if inside_branch and signal.gradient == 0:
        return None
    factor = math.sqrt(level)
    reference = "the branch's last layer's" if inside_branch else "the last layer's"
    size = f"its scale is {number(factor, 2)} times {reference}"
    if factor > limit:
        return _Seen(3, "exploding", True, "going back, the gradient explodes", size, factor)
    if factor < 1 / limit:
        return _Seen(3, "vanishing", True, "going back, the gradient vanishes", size, factor)
    return None
