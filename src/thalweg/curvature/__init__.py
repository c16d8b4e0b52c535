"""Measuring curvature: operators known by their products, and what can be read off them."""

from thalweg.curvature.critical.classification import Classification, classify
from thalweg.curvature.estimators.trace import Trace, trace
from thalweg.curvature.flatness.sharpness import Sharpness, sharpness
from thalweg.curvature.matrices.gauss_newton import ggn
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.spectrum.eigenpairs import Eigenpairs, eigenpairs
from thalweg.curvature.spectrum.spectral_density import SpectralDensity, Statistic, spectral_density
from thalweg.curvature.stability import StableRate, largest_stable_rate, stable_rate

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
