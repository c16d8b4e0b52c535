"""The relation A V = V H + Q C, through any sequence of what may be done to it."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curvature.spectra import rotated
from thalweg.curvature import SymmetricOperator
from thalweg.curvature.random_vectors import generator
from thalweg.curvature.spectrum.decomposition import Decomposition
from thalweg.curvature.spectrum.extraction import extract, remainder

N, K = 60, 3
SPECTRA = {
    "spread": torch.linspace(-1, 1, N).double(),
    "low rank": torch.cat([torch.tensor([3.0, 2.0, 2.0, -1.0]), torch.zeros(N - 4)]).double(),
    "outliers": torch.cat([torch.tensor([9.0, 5.0]), 0.01 * torch.linspace(-1, 1, N - 2)]).double(),
}


def check(state, matrix):
    """The relation, orthonormality, and where they are known the coordinates of the witnesses."""
    size = state.size
    basis = torch.cat(state.basis.panels(size + state.waiting), 1)
    v, q = basis[:, :size], basis[:, size:]
    # Some hundred operations, each right to √n eps.
    rounding = 1e3 * N**0.5 * torch.finfo(torch.float64).eps
    gram = basis.T @ basis - torch.eye(size + state.waiting, dtype=torch.float64)
    assert float(gram.abs().max()) <= rounding
    off = matrix @ v - v @ state.projected - q @ state.coupling
    assert float(off.norm()) <= 10 * rounding
    assert torch.equal(state.projected, state.projected.T)
    return basis


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(SPECTRA)),
    which=st.sampled_from(["largest", "both", "magnitude", "zero"]),
    steps=st.lists(st.sampled_from(["expand"] * 4 + ["draw", "prefer", "compress", "check"]), max_size=40),
)
def test_the_relation_holds(name, which, steps):
    matrix = rotated(SPECTRA[name])
    state = Decomposition(SymmetricOperator.of(matrix), K, 2 * K + 19, generator(0))
    state.admit_random(0)
    draw = torch.Generator().manual_seed(1)
    for step in steps:
        if step == "expand" and state.room and state.waiting:
            state.expand()
        elif (step == "draw" and state.room > 1) or not state.waiting:
            state.admit_random(1)
        elif step == "prefer":
            direction = torch.randn(state.waiting, generator=draw, dtype=torch.float64)
            state.prefer(direction / direction.norm())
        elif (step == "compress" or not state.room) and state.size > K + 1:
            found = extract(state.projected, state.coupling, K, which, 1e-6)
            keep = min(K + 3, state.size)
            state.compress(*remainder(state.projected, state.coupling, found, keep, which, 1e-6))
        elif step == "check" and state.room and state.size:
            weights = torch.randn(state.size, generator=draw, dtype=torch.float64)
            assert state.discrepancy(weights) <= 1e-9
    check(state, matrix)


def test_witnesses_are_the_vectors_that_were_drawn():
    matrix = rotated(SPECTRA["spread"])
    state = Decomposition(SymmetricOperator.of(matrix), K, 2 * K + 19, generator(0))
    state.admit_random(0)
    for _ in range(4):
        state.expand()
    state.admit_random(1)
    state.prefer(torch.tensor([0.6, 0.8], dtype=torch.float64))
    for _ in range(3):
        state.expand()
    basis = check(state, matrix)
    draw = generator(0)
    drawn = [torch.randn(N, 1, generator=draw, dtype=torch.float64)[:, 0] for _ in range(2)]
    # Both lie in the space, by their coordinates.
    torch.testing.assert_close(basis @ state.witnesses, torch.stack(drawn, 1), rtol=0, atol=1e-11)
    found = extract(state.projected, state.coupling, K, "largest", 0.0)
    state.compress(*remainder(state.projected, state.coupling, found, K, "largest", 0.0))
    assert bool(state.witnesses.isnan().all())


def test_another_matrix_is_noticed():
    state = Decomposition(SymmetricOperator.of(rotated(SPECTRA["spread"])), K, 2 * K + 19, generator(0))
    state.admit_random(0)
    for _ in range(6):
        state.expand()
    state.operator = SymmetricOperator.of(1.01 * rotated(SPECTRA["spread"]))
    assert state.discrepancy(torch.ones(6, dtype=torch.float64)) > 1e-3
