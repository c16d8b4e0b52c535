"""Edges of stability against runs of the optimizers just below and just above them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg import surfaces
from thalweg.curvature import largest_stable_rate, stable_rate
from thalweg.errors import InvalidArgument

EIGENVALUES = np.array([50.0, 7.0, 1.0, 0.1])


def descend(optimizer, rate, alpha, steps=2000):
    """‖θ‖ after steps of the rule, written as in a textbook, on ½ Σ λθ² from θ = 1."""
    theta, v = np.ones(4), np.zeros(4)
    for _ in range(steps):
        look = theta + alpha * v if optimizer == "nesterov" else theta
        v = (0 if optimizer == "sgd" else alpha) * v - rate * EIGENVALUES * look
        theta = theta + v
        if not np.all(np.abs(theta) < 1e6):
            break
    return np.linalg.norm(theta)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov"])
def test_runs_converge_below_the_edge_and_diverge_above(optimizer, alpha):
    surface = surfaces.quadratic(eigenvalues=EIGENVALUES.tolist())
    edge = largest_stable_rate(surface, optimizer, momentum=alpha)
    # 1 % off, the stiffest mode changes by some 2 % a step, while slow modes shrink by 0.4 % or more.
    assert descend(optimizer, 0.99 * edge.rate, alpha) < 1
    assert descend(optimizer, 1.01 * edge.rate, alpha) > 1e6
    assert edge.lambda_max == pytest.approx(50)


def test_the_stated_error_covers_a_rough_eigenvalue():
    surface = surfaces.quadratic(eigenvalues=torch.linspace(0.1, 9, 300, dtype=torch.float64))
    edge = largest_stable_rate(surface, tol=0.05)
    assert edge.error > 0
    # To first order in the residual; the second is a twentieth of it at this tolerance.
    assert abs(edge.rate - 2 / 9) <= 1.06 * edge.error


def test_formulas_and_momentum_are_named():
    assert stable_rate(4.0, 0.2, "sgd", 0.9).formula == "2/λmax"
    edge = stable_rate(4.0, 0.2, "momentum", 0.9)
    assert edge.rate == pytest.approx(2 * 1.9 / 4)
    assert edge.error == pytest.approx(2 * 1.9 * 0.2 / 16)
    assert "α = 0.9" in edge.formula


def test_without_positive_curvature_there_is_no_edge():
    for value in (0.0, -3.0):
        assert stable_rate(value, 0.1, "sgd", 0.0).rate == float("inf")


def test_bad_arguments_cost_no_product():
    calls = []

    def formula(x):
        calls.append(x)
        return (x**2).sum(0)

    surface = surfaces.Surface("counted", formula, [1.0] * 30)
    bad = [
        ({"optimizer": "adam"}, "optimizer must be one of sgd, momentum, nesterov, got 'adam'"),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"momentum": -0.1}, "momentum must be in [0, 1), got -0.1"),
        ({"momentum": float("nan")}, "momentum must be in [0, 1), got nan"),
    ]
    for arguments, message in bad:
        with pytest.raises(InvalidArgument) as caught:
            largest_stable_rate(surface, **arguments)
        assert message in str(caught.value)
    assert not calls
