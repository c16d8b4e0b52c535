"""Figures: every function takes arrays and an optional Axes, draws, and returns the Axes."""

from thalweg.plots.along_run import along_run
from thalweg.plots.basins import basins
from thalweg.plots.caption import caption
from thalweg.plots.comparison import comparison, seed_curves, tuning_curves
from thalweg.plots.contours import contours
from thalweg.plots.critical_points import critical_map, index_against_loss
from thalweg.plots.descent_curve import descent_curve
from thalweg.plots.descent_losses import descent_losses
from thalweg.plots.descents import descents
from thalweg.plots.difference import difference, line_difference
from thalweg.plots.eigenvalues import eigenvalues
from thalweg.plots.genealogy import genealogy
from thalweg.plots.heights import Heights
from thalweg.plots.interpolation import bilinear
from thalweg.plots.learning_curves import learning_curves
from thalweg.plots.line_slice import line_slice
from thalweg.plots.line_stack import line_stack
from thalweg.plots.paths import paths
from thalweg.plots.race import race
from thalweg.plots.range_test import range_test
from thalweg.plots.schedules import schedules
from thalweg.plots.side_by_side import Panel, side_by_side
from thalweg.plots.signal_propagation import signal_propagation
from thalweg.plots.spectral_density import spectral_density
from thalweg.plots.style import COLORS, paper
from thalweg.plots.surface import surface

__all__ = [
    "COLORS",
    "Heights",
    "Panel",
    "along_run",
    "basins",
    "bilinear",
    "caption",
    "comparison",
    "contours",
    "critical_map",
    "descent_curve",
    "descent_losses",
    "descents",
    "difference",
    "eigenvalues",
    "genealogy",
    "index_against_loss",
    "learning_curves",
    "line_difference",
    "line_slice",
    "line_stack",
    "paper",
    "paths",
    "race",
    "range_test",
    "schedules",
    "seed_curves",
    "side_by_side",
    "signal_propagation",
    "spectral_density",
    "surface",
    "tuning_curves",
]
