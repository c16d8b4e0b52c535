"""Learning-rate schedules as functions of the step, and the rate that belongs to a batch size."""

from thalweg.schedules.constant import constant
from thalweg.schedules.cosine import cosine, warm_restarts
from thalweg.schedules.exponential import exponential
from thalweg.schedules.polynomial import linear, polynomial
from thalweg.schedules.registry import get, names, register
from thalweg.schedules.scaling import BeyondCriticalBatch, scale_rate
from thalweg.schedules.schedule import Schedule
from thalweg.schedules.step import step
from thalweg.schedules.warmup import warmup
from thalweg.schedules.warmup_stable_decay import warmup_stable_decay

for _factory in (
    constant,
    cosine,
    exponential,
    linear,
    polynomial,
    step,
    warm_restarts,
    warmup,
    warmup_stable_decay,
):
    register(_factory.__name__, _factory)

__all__ = [
    "BeyondCriticalBatch",
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "get",
    "linear",
    "names",
    "polynomial",
    "register",
    "scale_rate",
    "step",
    "warm_restarts",
    "warmup",
    "warmup_stable_decay",
]
