"""Measuring curvature: operators known by their products, and what can be read off them."""

from thalweg.curvature import random_matrix
from thalweg.curvature.critical.classification import Classification, classify
from thalweg.curvature.critical.index_against_loss import IndexAgainstLoss, index_against_loss
from thalweg.curvature.critical.result import CriticalPoints
from thalweg.curvature.critical.search import critical_points
from thalweg.curvature.estimators.diagonal import Diagonal, diagonal
from thalweg.curvature.estimators.effective_rank import EffectiveRank, effective_rank
from thalweg.curvature.estimators.frobenius import FrobeniusNorm, frobenius_norm
from thalweg.curvature.estimators.log_determinant import LogDeterminant, log_determinant
from thalweg.curvature.estimators.trace import Trace, trace
from thalweg.curvature.flatness.sharpness import Sharpness, sharpness
from thalweg.curvature.layer_rates import LayerRate, LayerRates, layer_rates
from thalweg.curvature.matrices.blocks import blocks
from thalweg.curvature.matrices.fisher import MonteCarloFisher, fisher
from thalweg.curvature.matrices.gauss_newton import ggn
from thalweg.curvature.matrices.gradient_covariance import gradient_covariance
from thalweg.curvature.matrices.hessian import hessian
from thalweg.curvature.noise.estimate import NoiseScale
from thalweg.curvature.noise.noise_scale import critical_batch_size, gradient_noise_scale
from thalweg.curvature.noise.online import OnlineNoiseScale
from thalweg.curvature.operator import SymmetricOperator
from thalweg.curvature.smoothness import Smoothness, smoothness
from thalweg.curvature.spectrum.condition_number import ConditionNumber, condition_number
from thalweg.curvature.spectrum.eigenpairs import Eigenpairs, eigenpairs
from thalweg.curvature.spectrum.outliers import Outlier
from thalweg.curvature.spectrum.spectral_density import SpectralDensity, Statistic, spectral_density
from thalweg.curvature.stability import StableRate, largest_stable_rate, stable_rate

__all__ = [
    "Classification",
    "ConditionNumber",
    "CriticalPoints",
    "Diagonal",
    "EffectiveRank",
    "Eigenpairs",
    "FrobeniusNorm",
    "IndexAgainstLoss",
    "LayerRate",
    "LayerRates",
    "LogDeterminant",
    "MonteCarloFisher",
    "NoiseScale",
    "OnlineNoiseScale",
    "Outlier",
    "Sharpness",
    "Smoothness",
    "SpectralDensity",
    "StableRate",
    "Statistic",
    "SymmetricOperator",
    "Trace",
    "blocks",
    "classify",
    "condition_number",
    "critical_batch_size",
    "critical_points",
    "diagonal",
    "effective_rank",
    "eigenpairs",
    "fisher",
    "frobenius_norm",
    "ggn",
    "gradient_covariance",
    "gradient_noise_scale",
    "hessian",
    "index_against_loss",
    "largest_stable_rate",
    "layer_rates",
    "log_determinant",
    "random_matrix",
    "sharpness",
    "smoothness",
    "spectral_density",
    "stable_rate",
    "trace",
]
