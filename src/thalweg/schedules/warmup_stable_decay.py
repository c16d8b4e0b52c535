"""Warm-up, a plateau, and a decay at the end."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.checks import not_negative, one_of, positive, whole
from thalweg.errors import InvalidArgument
from thalweg.schedules.blend import WEIGHTS, Shape, blend
from thalweg.schedules.schedule import Schedule


@dataclass(frozen=True)
class warmup_stable_decay(Schedule):
    """Linearly from 0 to `rate` in `warmup` steps, level, and down to `final` in the last `decay` of `steps` steps.

    The plateau does not depend on `steps`: a run can be prolonged from a checkpoint taken before the decay.

    Parameters
    ----------
    steps: all steps, warm-up and decay included; `final` is held from there on.
    shape: of the decay after its fraction x: "linear" 1 − x, "cosine" (1 + cos πx)/2, "sqrt" 1 − √x.

    Raises InvalidArgument for a count or rate out of range, a warm-up and decay longer than `steps`, and an
    unknown shape.

    Sources: Hu et al. (2024), MiniCPM, section 4; Hägele et al. (2024), Scaling laws and compute-optimal training
    beyond fixed training durations, for the shape "sqrt".
    """

    rate: float
    steps: int
    warmup: int
    decay: int
    final: float = 0.0
    shape: Shape = "linear"

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        whole("steps", self.steps)
        whole("warmup", self.warmup, 0)
        whole("decay", self.decay)
        not_negative("final", self.final)
        one_of("shape", self.shape, list(WEIGHTS))
        if self.warmup + self.decay > self.steps:
            raise InvalidArgument(
                f"warmup and decay must fit into {self.steps} steps, got {self.warmup} + {self.decay}"
            )

    def _rate(self, t: float) -> float:
        if t < self.warmup:
            return blend(self.rate, 0.0, t / self.warmup)
        decayed = min(max(t - (self.steps - self.decay), 0) / self.decay, 1)
        return blend(self.rate, self.final, WEIGHTS[self.shape](decayed))
