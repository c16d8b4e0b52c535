"""Condition numbers of planted spectra, dense and by Lanczos, and where there is none to be had."""

from __future__ import annotations

import math

import pytest
import torch

from curvature.models import case
from curvature.spectra import diagonal, rotated
from thalweg.curvature import SymmetricOperator, ggn
from thalweg.curvature.spectrum import condition_number as module
from thalweg.curvature.spectrum.condition_number import condition_number
from thalweg.errors import InvalidArgument

N = 200


def spectrum(*parts):
    return torch.cat([torch.linspace(low, high, count, dtype=torch.float64) for low, high, count in parts])


SPECTRA = {
    "definite": spectrum((1, 100, N)),
    "negative": -spectrum((1, 100, N)),
    "gap around zero": spectrum((-3, -0.1, N // 2), (0.2, 4, N // 2)),
    "outliers": torch.cat([spectrum((0.5, 1, N - 3)), torch.tensor([10.0, 20, 50])]).double(),
}


@pytest.fixture(params=["dense", "lanczos"])
def way(request, monkeypatch):
    if request.param == "lanczos":
        monkeypatch.setattr(module, "DENSE_UP_TO", 0)
    return request.param


@pytest.mark.parametrize("name", SPECTRA)
def test_whole(name, way):
    eigenvalues = SPECTRA[name]
    exact = float(eigenvalues.abs().max() / eigenvalues.abs().min())
    operator = SymmetricOperator.of(rotated(eigenvalues))
    found = condition_number(operator)
    assert found.low * (1 - 1e-12) <= exact <= found.high * (1 + 1e-12)
    assert found.converged
    assert found.value == pytest.approx(exact, rel=0.06)
    assert found.high <= 1.11 * found.low
    assert found.largest == pytest.approx(float(eigenvalues.abs().max()), rel=0.06)
    assert found.smallest == pytest.approx(float(eigenvalues.abs().min()), rel=0.06)
    assert found.products == operator.products


@pytest.mark.parametrize("name", ["definite", "gap around zero", "outliers"])
def test_positive(name, way):
    eigenvalues = SPECTRA[name]
    exact = float(eigenvalues.max() / eigenvalues[eigenvalues > 0].min())
    found = condition_number(SymmetricOperator.of(rotated(eigenvalues)), "positive")
    assert found.low * (1 - 1e-12) <= exact <= found.high * (1 + 1e-12)
    assert found.converged


def test_a_singular_matrix(way):
    operator = SymmetricOperator.of(rotated(spectrum((0, 0, N // 2), (0.2, 4, N // 2))))
    whole = condition_number(operator)
    assert whole.value == whole.high == math.inf
    assert not whole.converged
    # Up to rounding, which is what is said: above about 1/(10·√n·eps).
    assert whole.low > 1e12
    assert str(whole).startswith("condition number above ")
    positive = condition_number(operator, "positive")
    assert positive.low * (1 - 1e-12) <= 20 <= positive.high * (1 + 1e-12)
    assert positive.converged
    assert str(positive).startswith("condition number of the positive part 20, between ")


@pytest.mark.parametrize("threshold", [1e-2, 0.3])
def test_a_threshold_cuts_a_bulk(threshold, way):
    """Of a spectrum that is dense across the threshold: between what was found and what the threshold says."""
    eigenvalues = spectrum((-1, 2, N))
    kept = eigenvalues[eigenvalues > threshold * 2]
    found = condition_number(SymmetricOperator.of(rotated(eigenvalues)), "positive", threshold=threshold)
    assert found.threshold == pytest.approx(threshold * 2, rel=1e-3)
    assert found.low * (1 - 1e-12) <= float(2 / kept.min()) <= found.high * (1 + 1e-12)
    assert found.high <= 1 / threshold * (1 + 1e-3)


def test_too_few_products_say_what_kappa_is_at_least(monkeypatch):
    monkeypatch.setattr(module, "DENSE_UP_TO", 0)
    eigenvalues = torch.logspace(-6, 0, 1000, dtype=torch.float64)
    operator = diagonal(eigenvalues)
    found = condition_number(operator, max_products=100)
    assert found.products == operator.products <= 100
    assert not found.converged
    assert found.value == found.high == math.inf
    assert 1 < found.low <= 1e6


def test_the_wanted_error_is_paid_for(monkeypatch):
    monkeypatch.setattr(module, "DENSE_UP_TO", 0)
    operator = diagonal(torch.logspace(-2, 0, 1000, dtype=torch.float64))
    coarse, fine = (condition_number(operator, rtol=rtol) for rtol in (0.5, 1e-6))
    assert coarse.converged
    assert fine.converged
    assert coarse.products < fine.products
    assert fine.high <= (1 + 3e-6) * fine.low
    assert fine.low <= 100 * (1 + 1e-12)
    assert fine.high >= 100 * (1 - 1e-12)


def test_a_ritz_value_that_strays_into_a_gap_is_looked_past(monkeypatch):
    """At some steps a Ritz value stands between the two parts of the spectrum; bounds from earlier steps do without."""
    monkeypatch.setattr(module, "DENSE_UP_TO", 0)
    matrix = rotated(spectrum((-3, -0.5, 100), (0.5, 3.2, 100)))

    def settled():
        found = (condition_number(SymmetricOperator.of(matrix), seed=s, max_products=190) for s in range(12))
        return {seed for seed, one in enumerate(found) if one.converged}

    several = settled()
    monkeypatch.setattr(module, "_LOOKS", 1)
    assert settled() < several


def test_a_gauss_newton_matrix_has_zeros_and_a_positive_part():
    with ggn(case("recurrent").objective) as operator:
        dense = torch.linalg.eigvalsh(operator.dense())
        found = condition_number(operator, "positive", threshold=1e-9)
    exact = float(dense.max() / dense[dense > 1e-9 * dense.max()].min())
    assert found.low * (1 - 1e-6) <= exact <= found.high * (1 + 1e-6)


@pytest.mark.parametrize("part", ["whole", "positive"])
def test_one_dimension_and_multiples_of_the_identity(part, way):
    for n in (1, 30):
        found = condition_number(diagonal(torch.full((n,), 2.5, dtype=torch.float64)), part)
        assert found.value == pytest.approx(1)
        assert found.converged


def test_bad_arguments(way):
    operator = SymmetricOperator.of(rotated(SPECTRA["definite"]))
    for arguments, message in (
        ({"part": "half"}, "part must be 'whole' or 'positive', got 'half'"),
        ({"rtol": 0.0}, "rtol must be finite and above 0, got 0.0"),
        ({"threshold": 1.0}, "threshold must be in [0, 1), got 1.0"),
        ({"max_products": 99}, "max_products must be an integer of at least 100, got 99"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            condition_number(operator, **arguments)
        assert message in str(caught.value)
    assert operator.products == 0
    with pytest.raises(InvalidArgument, match="it has no positive part; the largest is -1"):
        condition_number(SymmetricOperator.of(rotated(SPECTRA["negative"])), "positive")
    for part in ("whole", "positive"):
        with pytest.raises(InvalidArgument, match="needs a matrix that is not zero"):
            condition_number(SymmetricOperator.of(torch.zeros(N, N)), part)
