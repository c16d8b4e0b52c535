"""The random spectra that a measured density is held against."""

from __future__ import annotations

import numpy as np

from thalweg.curvature.random_matrix.fitting import bulk_outliers, distance, fitted
from thalweg.curvature.random_matrix.law import Law
from thalweg.curvature.spectrum.spectral_density import SpectralDensity
from thalweg.errors import InvalidArgument


def references(found: SpectralDensity) -> list[tuple[Law, float]]:
    """Wigner's and, of a positive mean, Marchenko and Pastur's law of the bulk's mean and variance, each with its
    `distance` from the bulk.

    The bulk is what the quadrature shows without the outliers, those apart that lie where the law reaches counted in:
    eigenvalues near the edge of a random bulk stand apart too. The list is empty for a bulk that is one point.
    """
    values = np.concatenate([nodes.double().cpu().numpy() for nodes in found.nodes])
    weights = np.concatenate([shares.double().cpu().numpy() for shares in found.weights])
    laws: list[tuple[Law, float]] = []
    for name in ("semicircle", "marchenko-pastur"):
        apart = [outlier.value for outlier in found.outliers]
        try:
            while True:
                bulk = np.ones(values.size, dtype=bool)
                for outlier in apart:
                    bulk &= np.abs(values - outlier) > found.width
                law = fitted(values[bulk], weights[bulk], name)
                beyond = bulk_outliers(law, apart, found.size).tolist()
                if len(beyond) == len(apart):
                    break
                apart = beyond
        except InvalidArgument:
            continue
        laws.append((law, distance(law, values[bulk], weights[bulk])))
    return laws
