"""The laws against their defining integrals, SciPy's quadrature, and matrices drawn at random."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from thalweg.curvature.random_matrix import (
    Law,
    MarchenkoPastur,
    Semicircle,
    bulk_outliers,
    distance,
    fitted,
    marchenko_pastur,
    semicircle,
)
from thalweg.errors import InvalidArgument

LAWS: list[Law] = [
    Semicircle(),
    Semicircle(0.3, 5.0),
    *map(MarchenkoPastur, (0.1, 0.5, 1.0, 2.0, 10.0), [1, 1, 1, 1, 3]),
]


@pytest.mark.parametrize("law", LAWS)
def test_density_and_cumulative_are_one_law(law: Law) -> None:
    low, high = law.edges
    mass = quad(law.density, low, high, limit=400)[0]
    assert mass == pytest.approx(1 - law.atom, abs=1e-6)
    for share in (0.1, 0.4, 0.9):
        x = low + share * (high - low)
        expected = quad(law.density, low, x, limit=400)[0] + law.atom
        # Interpolated between 4097 points: the error of a chord is (π/4096)² ≈ 6e-7 of a curvature of order one.
        assert float(law.cumulative(x)) == pytest.approx(expected, abs=2e-6)
    below, above = low - 0.01 * (high - low), high + 0.01 * (high - low)
    assert float(law.density(below)) == float(law.density(above)) == 0
    assert float(law.cumulative(above)) == pytest.approx(1)
    assert float(law.cumulative(-1e-9 if law.atom else below)) == 0


def wigner(n: int, seed: int, spike: float = 0.0) -> np.ndarray:
    g = np.random.default_rng(seed).standard_normal((n, n))
    return (g + g.T) / math.sqrt(2 * n) + spike * np.outer(np.eye(n)[0], np.eye(n)[0])


def covariance(n: int, m: int, seed: int, spike: float = 1.0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, m))
    x[0] *= math.sqrt(spike)
    return x @ x.T / m


def test_wigner_matrices_follow_the_semicircle() -> None:
    values = np.linalg.eigvalsh(wigner(400, 0))
    # Eigenvalues repel: their distribution function differs from the limit by a few 1/n, not 1/√n.
    assert distance(Semicircle(), values) < 4 / 400
    assert distance(Semicircle(3), values) > 0.05
    found = fitted(values)
    # The variance is a mean over n²/2 entries of relative variance 2: its relative error is 2/n.
    assert found.edges == pytest.approx((-2, 2), abs=3 * 2 / 400)
    assert bulk_outliers(found, values, 400).size == 0


@pytest.mark.parametrize(("n", "m"), [(200, 800), (300, 300), (400, 200)])
def test_covariances_follow_marchenko_pastur(n: int, m: int) -> None:
    values = np.linalg.eigvalsh(covariance(n, m, 1))
    values[np.abs(values) < 1e-9] = 0
    assert distance(MarchenkoPastur(n / m), values) < 6 / n
    assert distance(MarchenkoPastur(2 * n / m), values) > 0.05
    found = fitted(values, law="marchenko-pastur")
    assert found.edges == pytest.approx(MarchenkoPastur(n / m).edges, rel=0.03, abs=0.01)


@pytest.mark.parametrize("spike", [-3.0, 1.5, 4.0])
def test_a_planted_eigenvalue_beyond_the_threshold_stands_out(spike: float) -> None:
    n = 800
    values = np.linalg.eigvalsh(wigner(n, 2, spike))
    expected = Semicircle().outlier(spike)
    assert expected == pytest.approx(spike + 1 / spike)
    found = bulk_outliers(Semicircle(), values, n)
    # Its fluctuation is of the order √(2/n) = 0.05.
    assert found.tolist() == pytest.approx([expected], abs=0.15)


def test_a_planted_eigenvalue_below_the_threshold_drowns() -> None:
    assert Semicircle().outlier(0.9) is None
    assert bulk_outliers(Semicircle(), np.linalg.eigvalsh(wigner(400, 3, 0.9)), 400).size == 0


def test_a_strong_direction_of_the_data_stands_out() -> None:
    n, m = 200, 800
    law = MarchenkoPastur(n / m)
    assert law.outlier(1.4) is None
    expected = law.outlier(4.0)
    assert expected == pytest.approx(4 * (1 + 0.25 / 3))
    found = bulk_outliers(law, np.linalg.eigvalsh(covariance(n, m, 4, 4.0)), n)
    # A sample variance of 4 over 800 samples has the standard deviation 4·√(2/800) = 0.2.
    assert found.tolist() == pytest.approx([expected], abs=0.6)


def test_weights_stand_for_repeats() -> None:
    values = np.array([-1.0, 0.5, 0.5, 1.0])
    once = distance(Semicircle(), [-1.0, 0.5, 1.0], [1, 2, 1])
    assert distance(Semicircle(), values) == pytest.approx(once, abs=1e-12)


def test_short_forms() -> None:
    x = np.linspace(-1, 3, 9)
    assert np.array_equal(semicircle(x, 1.5), Semicircle(1.5).density(x))
    assert np.array_equal(marchenko_pastur(x, 0.5, 2.0), MarchenkoPastur(0.5, 2.0).density(x))
    assert semicircle(0.0) == pytest.approx(1 / math.pi)


def test_bad_arguments_are_named() -> None:
    for call, name in (
        (lambda: Semicircle(0), "radius"),
        (lambda: MarchenkoPastur(-1), "ratio"),
        (lambda: MarchenkoPastur(1, math.nan), "scale"),
        (lambda: fitted([1.0, 1.0]), "values"),
        (lambda: fitted([-2.0, 1.0], law="marchenko-pastur"), "semicircle"),
        (lambda: fitted([1.0, 2.0], law="wigner"), "law"),
        (lambda: distance(Semicircle(), [math.nan]), "values"),
        (lambda: distance(Semicircle(), [1.0], [1, 2]), "weights"),
    ):
        with pytest.raises(InvalidArgument, match=name):
            call()
