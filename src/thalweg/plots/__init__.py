"""Figures: every function takes arrays and an optional Axes, draws, and returns the Axes."""

from thalweg.plots.contours import contours
from thalweg.plots.eigenvalues import eigenvalues
from thalweg.plots.genealogy import genealogy
from thalweg.plots.heights import Heights
from thalweg.plots.interpolation import bilinear
from thalweg.plots.learning_curves import learning_curves
from thalweg.plots.line_slice import line_slice
from thalweg.plots.schedules import schedules
from thalweg.plots.signal_propagation import signal_propagation
from thalweg.plots.spectral_density import spectral_density
from thalweg.plots.style import COLORS, paper
from thalweg.plots.surface import surface

__all__ = [
    "COLORS",
    "Heights",
    "bilinear",
    "contours",
    "eigenvalues",
    "genealogy",
    "learning_curves",
    "line_slice",
    "paper",
    "schedules",
    "signal_propagation",
    "spectral_density",
    "surface",
]
