"""The largest learning rate at which an optimizer is stable on the local quadratic."""

from thalweg.curvature.stability.edges import StableRate, stable_rate
from thalweg.curvature.stability.largest import largest_stable_rate

__all__ = ["StableRate", "largest_stable_rate", "stable_rate"]
