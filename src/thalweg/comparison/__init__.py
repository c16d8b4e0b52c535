"""Optimizers against each other, and the range of rates in which one of them works."""

from thalweg.comparison.compare import compare
from thalweg.comparison.intervals import Estimate
from thalweg.comparison.range_test import RangeTest, range_test
from thalweg.comparison.result import Comparison, Curve, Entry, Goal

__all__ = ["Comparison", "Curve", "Entry", "Estimate", "Goal", "RangeTest", "compare", "range_test"]
