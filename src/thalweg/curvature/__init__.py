"""Measuring curvature: operators known by their products, and what can be read off them."""

from thalweg.curvature.classification import Classification, classify
from thalweg.curvature.eigenpairs import Eigenpairs, eigenpairs
from thalweg.curvature.operator import SymmetricOperator, ggn, hessian
from thalweg.curvature.sharpness import Sharpness, sharpness
from thalweg.curvature.spectral_density import SpectralDensity, Statistic, spectral_density
from thalweg.curvature.stability import StableRate, largest_stable_rate, stable_rate
from thalweg.curvature.trace import Trace, trace

__all__ = [
    "Classification",
    "Eigenpairs",
    "Sharpness",
    "SpectralDensity",
    "StableRate",
    "Statistic",
    "SymmetricOperator",
    "Trace",
    "classify",
    "eigenpairs",
    "ggn",
    "hessian",
    "largest_stable_rate",
    "sharpness",
    "spectral_density",
    "stable_rate",
    "trace",
]
