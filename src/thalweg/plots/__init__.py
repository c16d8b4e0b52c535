"""Figures: every function takes arrays and an optional Axes, draws, and returns the Axes."""

from thalweg.plots.contours import contours
from thalweg.plots.eigenvalues import eigenvalues
from thalweg.plots.heights import Heights
from thalweg.plots.interpolation import bilinear
from thalweg.plots.learning_curves import learning_curves
from thalweg.plots.line_slice import line_slice
from thalweg.plots.spectral_density import spectral_density
from thalweg.plots.style import COLORS, paper
from thalweg.plots.surface import surface

__all__ = [
    "COLORS",
    "Heights",
    "bilinear",
    "contours",
    "eigenvalues",
    "learning_curves",
    "line_slice",
    "paper",
    "spectral_density",
    "surface",
]
