"""The memory that is promised: every allocation of torch on the CPU, for an operator that makes nothing else."""

from __future__ import annotations

import pytest
import torch
from benchmarks.memory import peak_bytes

from curvature.spectra import diagonal
from thalweg.curvature.estimators import sketch
from thalweg.curvature.estimators.diagonal import diagonal as diagonal_of
from thalweg.curvature.estimators.frobenius import frobenius_norm
from thalweg.curvature.estimators.trace import trace

N = 50_000
SPENT = {"rtol": 0.0, "max_products": 90}


@pytest.mark.parametrize(
    ("measure", "vectors"),
    [
        (lambda operator: trace(operator, "hutchinson", **SPENT), 30),
        (lambda operator: trace(operator, "hutch++", **SPENT), 5 / 4 * 12 + 30),
        (lambda operator: trace(operator, sketch=20, **SPENT), 5 / 4 * 20 + 30),
        (lambda operator: diagonal_of(operator, "hutchinson", **SPENT), 32),
        (lambda operator: diagonal_of(operator, sketch=20, **SPENT), 9 / 4 * 20 + 32),
        (lambda operator: frobenius_norm(operator, sketch=20, **SPENT), 9 / 4 * 20 + 32),
    ],
)
def test_vectors(measure, vectors):
    operator = diagonal(torch.linspace(-1, 1, N, dtype=torch.float64).pow(3).float())
    assert peak_bytes(lambda: measure(operator)) <= vectors * N * 4


def test_a_sketch_is_kept_within_its_bytes(monkeypatch):
    operator = diagonal(torch.linspace(-1, 1, N, dtype=torch.float64).pow(3).float())
    monkeypatch.setattr(sketch, "HOLD_WITHIN", 10 * N * 5)
    assert sketch.room(operator, images=False) == 10
    assert peak_bytes(lambda: trace(operator, **SPENT)) <= (5 / 4 * 10 + 30) * N * 4
    assert sketch.room(diagonal(torch.ones(10**9 // 4).expand(10**9 // 4)), images=True) == 1
