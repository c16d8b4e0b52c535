"""One schedule of every kind, with its rates at the first step and from its last step on."""

from __future__ import annotations

from typing import NamedTuple

from thalweg import schedules as s
from thalweg.schedules import Schedule


class Case(NamedTuple):
    schedule: Schedule
    first: float
    end: int
    last: float


CASES = {
    "constant": Case(s.constant(0.1), 0.1, 0, 0.1),
    "step": Case(s.step(0.3, factor=0.1, milestones=[30, 80]), 0.3, 80, 0.3 * 0.1**2),
    "exponential": Case(s.exponential(0.3, factor=0.9, steps=97), 0.3, 97, 0.3 * 0.9**97),
    "cosine": Case(s.cosine(1e-3, steps=997), 1e-3, 997, 0.0),
    "cosine_to_a_floor": Case(s.cosine(1e-3, steps=997, final=1e-5), 1e-3, 997, 1e-5),
    "linear": Case(s.linear(0.7, steps=331, final=0.007), 0.7, 331, 0.007),
    "linear_up": Case(s.linear(1e-5, steps=331, final=0.7), 1e-5, 331, 0.7),
    "polynomial": Case(s.polynomial(0.7, steps=331, power=1.7, final=0.007), 0.7, 331, 0.007),
    "warmup": Case(s.warmup(203, then=s.cosine(1e-3, steps=801)), 0.0, 1004, 0.0),
    "warmup_from": Case(s.warmup(203, then=s.linear(0.3, 801, final=1e-4), start=0.1), 0.1, 1004, 1e-4),
    "wsd": Case(s.warmup_stable_decay(0.3, steps=700, warmup=50, decay=203), 0.0, 700, 0.0),
    "wsd_sqrt": Case(
        s.warmup_stable_decay(0.3, steps=700, warmup=0, decay=203, final=0.01, shape="sqrt"), 0.3, 700, 0.01
    ),
    "wsd_cosine": Case(
        s.warmup_stable_decay(0.3, steps=700, warmup=1, decay=699, final=0.01, shape="cosine"), 0.0, 700, 0.01
    ),
}
