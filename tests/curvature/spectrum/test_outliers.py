"""Outliers of planted spectra, and none where there is none."""

from __future__ import annotations

import math

import pytest
import torch

from curvature.models import MODELS, case
from curvature.spectra import rotated
from thalweg.curvature import SymmetricOperator, spectral_density

N = 400


def wigner(seed=0):
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(N, N, generator=draw, dtype=torch.float64)
    return (noise + noise.T) / math.sqrt(2 * N)


@pytest.mark.parametrize("steps", [20, 40, 100])
@pytest.mark.parametrize("seed", range(3))
def test_a_bulk_alone_has_none(seed, steps):
    found = spectral_density(SymmetricOperator.of(wigner(seed)), 6, steps, seed=seed)
    # The last eigenvalue of so small a matrix may by chance be as far from the next as an outlier must be.
    exact = torch.linalg.eigvalsh(wigner(seed))
    gaps = {float(exact[0]): float(exact[1] - exact[0]), float(exact[-1]): float(exact[-1] - exact[-2])}
    for one in found.outliers:
        (gap,) = (gap for value, gap in gaps.items() if abs(value - one.value) <= one.error + 1e-9)
        assert gap > 2 * found.width
    even = rotated(torch.linspace(-1, 2, N, dtype=torch.float64))
    assert spectral_density(SymmetricOperator.of(even), 6, steps, seed=seed).outliers == ()


@pytest.mark.parametrize("seed", range(3))
def test_spikes_on_noise(seed):
    """A spike of strength t ≥ 1 shows at t + 1/t, beyond the edge at 2 (Baik, Ben Arous & Péché 2005); below 1 not."""
    spikes = [8.0, 3.0, -4.0, 0.7]
    draw = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(N, 4, generator=draw, dtype=torch.float64)).Q
    matrix = wigner(seed) + (directions * torch.tensor(spikes, dtype=torch.float64)) @ directions.T
    exact = torch.linalg.eigvalsh(matrix)
    found = spectral_density(SymmetricOperator.of(matrix), 8, 50, seed=seed).outliers
    assert [one.value for one in found] == sorted((one.value for one in found), reverse=True)
    assert len(found) == 3
    for one, place in zip(found, (exact[-1], exact[-2], exact[0]), strict=True):
        # An eigenvalue lies within the stated error, which says something.
        assert abs(one.value - float(place)) <= one.error <= 1e-3
        # There is one of it: eight squares of normal numbers vary by half, and are skewed.
        assert 0 < one.count < 4
        assert abs(one.count - 1) <= 5 * one.count_stderr
    # Theory, to the scatter of an outlier, √2/√n, and more.
    for one, t in zip(found, (8.0, 3.0, -4.0), strict=True):
        assert one.value == pytest.approx(t + 1 / t, abs=5 / math.sqrt(N))


def test_a_multiple_outlier_is_counted():
    eigenvalues = torch.cat([torch.full((10,), 20.0), torch.linspace(-1, 1, N - 10)]).double()
    (found,) = spectral_density(SymmetricOperator.of(rotated(eigenvalues)), 8, 40).outliers
    assert found.value == pytest.approx(20, abs=1e-9)
    assert abs(found.count - 10) <= 4 * found.count_stderr
    assert found.count_stderr < 4


def test_close_outliers_are_told_apart():
    eigenvalues = torch.cat([torch.tensor([20.0, 20.01]), torch.linspace(-1, 1, N - 2)]).double()
    found = spectral_density(SymmetricOperator.of(rotated(eigenvalues)), 6, 60).outliers
    assert [round(one.value, 6) for one in found] == [20.01, 20.0]


def test_a_second_bulk_is_no_outlier():
    eigenvalues = torch.cat([torch.full((N // 2,), 5.0), torch.linspace(-1, 1, N // 2)]).double()
    assert spectral_density(SymmetricOperator.of(rotated(eigenvalues)), 6, 40).outliers == ()


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    """Each is an eigenvalue, and none that is apart by more than the width above the bulk is left out."""
    known = case(name)
    found = spectral_density(SymmetricOperator.of(known.hessian), 6, 80)
    assert found.outliers
    values = torch.tensor([one.value for one in found.outliers], dtype=torch.float64)
    for one in found.outliers:
        assert float((known.eigenvalues - one.value).abs().min()) <= one.error + 1e-12 * known.norm
    gaps = known.eigenvalues[:-1] - known.eigenvalues[1:]
    for rank in range(int((gaps[:5] > 3 * found.width).long().cumprod(0).sum())):
        assert float((values - known.eigenvalues[rank]).abs().min()) <= 1e-6 * known.norm


def test_one_step_shows_none():
    assert spectral_density(SymmetricOperator.of(wigner()), 4, 1).outliers == ()
