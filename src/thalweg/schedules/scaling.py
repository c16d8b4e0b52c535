"""The learning rate that belongs to another batch size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Literal, TypeAlias

from thalweg.checks import one_of, positive
from thalweg.errors import InvalidArgument
from thalweg.numbers import number

Rule: TypeAlias = Literal["linear", "sqrt"]

_RULES: dict[Rule, Callable[[float], float]] = {"linear": lambda k: k, "sqrt": math.sqrt}


class BeyondCriticalBatch(UserWarning):
    """A learning rate was scaled to a batch past the critical size, where the rule no longer holds."""


def scale_rate(
    lr: float, batch: float, new_batch: float, rule: Rule = "linear", critical: float | None = None
) -> float:
    """The rate for batches of `new_batch` examples, given that `lr` is good for batches of `batch`.

    With k = new_batch/batch: k·lr by the rule "linear", for SGD, to be reached by a warm-up; √k·lr by the rule
    "sqrt", for Adam and its kin, which divide by the gradient's second moment already.

    Parameters
    ----------
    critical: the critical batch size, for instance a measured gradient noise scale. Past it the gradient is
        near exact, so that a rate scaled further destabilizes without speeding up: a `new_batch` above it
        brings a BeyondCriticalBatch warning, and the rule's rate all the same.

    Raises
    ------
    InvalidArgument: a rate or batch size that is not positive, or an unknown rule.

    Sources: Goyal et al. (2017), section 2.1; Krizhevsky (2014), One weird trick, section 5, and Malladi et al.
    (2022), On the SDEs and scaling rules for adaptive gradient algorithms, for the square root; McCandlish et al.
    (2018), An empirical model of large-batch training, for the critical size.

    >>> scale_rate(0.1, 256, 8192)
    3.2
    """
    for name, value in (("lr", lr), ("batch", batch), ("new_batch", new_batch)):
        positive(name, value)
    one_of("rule", rule, list(_RULES))
    if critical is not None:
        if not critical > 0:
            raise InvalidArgument(f"critical must be above 0, got {critical!r}")
        if new_batch > critical:
            warnings.warn(_beyond(lr, batch, new_batch, rule, critical), BeyondCriticalBatch, stacklevel=2)
    return float(_RULES[rule](new_batch / batch) * lr)


def _beyond(lr: float, batch: float, new_batch: float, rule: Rule, critical: float) -> str:
    there = _RULES[rule](critical / batch) * lr
    return (
        f"new_batch {number(float(new_batch), 6)} is past the critical batch size {number(float(critical), 6)}, "
        f"where the {rule} rule stops to hold: use batches of at most that size, with a rate of "
        f"{number(there)}, or expect little speed-up and do not raise the rate above {number(there)}"
    )
