"""Laws fitted to the bulk of a measured density: of random matrices they are those the matrices were drawn from."""

from __future__ import annotations

import pytest
import torch

from thalweg.curvature import SymmetricOperator, random_matrix, spectral_density

N = 400


def drawn(seed: int = 0) -> torch.Tensor:
    return torch.randn(N, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_wigner_matrix_with_a_spike() -> None:
    entries = drawn()
    spike = torch.nn.functional.normalize(torch.ones(N, dtype=torch.float64), dim=0)
    matrix = (entries + entries.T) / (2 * N) ** 0.5 + 5 * torch.outer(spike, spike)
    found = random_matrix.references(spectral_density(SymmetricOperator.of(matrix), steps=64))
    (semicircle, near), (_, far) = found if len(found) == 2 else (*found, (None, 1.0))
    # Entries of variance 1/n: radius 2. The spike, at 5 + 1/5, belongs to no bulk.
    assert semicircle.name == "semicircle"
    assert semicircle.edges == pytest.approx((-2, 2), abs=0.1)
    assert near < 0.05 < far


def test_a_wishart_matrix() -> None:
    entries = drawn(1)[:, : N // 2]
    matrix = entries.T @ entries / N
    (_, semicircle), (law, own) = random_matrix.references(
        spectral_density(SymmetricOperator.of(matrix), steps=64)
    )
    # Ratio 1/2: edges (1 ± √½)²; mean and variance are those of 8 probes of a matrix of 200.
    assert law.edges == pytest.approx(((1 - 0.5**0.5) ** 2, (1 + 0.5**0.5) ** 2), abs=0.2)
    assert own < 0.05 < semicircle


def test_a_bulk_that_is_one_point() -> None:
    assert random_matrix.references(spectral_density(SymmetricOperator.of(torch.eye(40)))) == []
