"""Edges of stability against runs of the optimizers just below and just above them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curvature.models import case
from curvature.stability.bowls import HESSIAN, SECOND, Bowl, objective_of
from thalweg import surfaces
from thalweg.curvature.stability import largest_stable_rate, stable_rate
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
        ({"optimizer": "adem"}, "got 'adem': did you mean 'adam'?"),
        ({"optimizer": "adagrad"}, "divides by the sum of all squared gradients"),
        ({"weight_decay": -1.0}, "weight_decay must be finite and at least 0, got -1.0"),
        ({"optimizer": "adam", "eps": -1.0}, "eps must be finite and at least 0, got -1.0"),
        ({"batch_size": 4}, "second_moment and batch_size are for adaptive optimizers, sgd is none"),
        ({"optimizer": "adam", "batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        (
            {"optimizer": "adam", "second_moment": torch.ones(3)},
            "second_moment must have shape (30,), got (3,)",
        ),
        (
            {"optimizer": "adam", "second_moment": -torch.ones(30)},
            "second_moment must be finite and not negative",
        ),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"momentum": -0.1}, "momentum must be in [0, 1), got -0.1"),
        ({"momentum": float("nan")}, "momentum must be in [0, 1), got nan"),
    ]
    for arguments, message in bad:
        with pytest.raises(InvalidArgument) as caught:
            largest_stable_rate(surface, **arguments)
        assert message in str(caught.value)
    assert not calls


@pytest.mark.parametrize(
    ("name", "options", "slowing", "decay"),
    [
        ("adam", {}, 0.1 / 1.9, 0.0),
        ("adam", {"momentum": 0.5, "weight_decay": 3.0}, 0.5 / 1.5, 0.0),
        ("adamw", {"weight_decay": 3.0}, 0.1 / 1.9, 3.0),
        ("rmsprop", {}, 1.0, 0.0),
        ("rmsprop", {"momentum": 0.5}, 1 / 1.5, 0.0),
        ("adagrad", {}, 1.0, 0.0),
    ],
)
def test_named_adaptive_rules_against_the_dense_matrix(name, options, slowing, decay):
    found = largest_stable_rate(objective_of(Bowl()), name, eps=0.1, second_moment=SECOND, **options)
    coupled = 0.0 if name == "adamw" else options.get("weight_decay", 0.0)
    root = (SECOND.sqrt() + 0.1).sqrt()
    scaled = (HESSIAN + coupled * torch.eye(5)) / root / root[:, None]
    largest = float(torch.linalg.eigvalsh(scaled)[-1])
    assert found.lambda_max == pytest.approx(largest, rel=1e-6)
    assert found.rate == pytest.approx(2 / (slowing * largest + decay), rel=1e-6)
    assert found.preconditioner == "v̂ as given"
    if not coupled:
        momentum = options.get("momentum", 0.9 if name.startswith("adam") else 0.0)
        alike = stable_rate(found.lambda_max, 0.0, name, momentum, options.get("weight_decay", 0.0))
        assert (alike.rate, alike.formula) == (pytest.approx(found.rate), found.formula)


def test_adams_edge_is_38_over_the_rate():
    """Cohen et al. (2022): the preconditioned sharpness is 38/η at β₁ = 0.9."""
    assert stable_rate(38.0, 0.0, "adam", 0.9).rate == pytest.approx(1)


def test_a_decay_that_is_divided_belongs_into_the_hessian():
    with pytest.raises(InvalidArgument, match="weight_decay of adam is divided"):
        stable_rate(1.0, 0.0, "adam", 0.9, 0.1)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_model_at_a_point_with_the_gradient_noise_of_batches(batch_size):
    model = case("mlp")
    objective = model.objective
    found = largest_stable_rate(objective, "adam", batch_size=batch_size, eps=1e-3, tol=1e-6)
    (x, y) = (torch.cat(part) for part in zip(*[batch for _, batch in objective.batches], strict=True))
    rows = []
    for i in range(len(x)):
        loss = torch.nn.functional.cross_entropy(objective.model(x[i : i + 1]), y[i : i + 1])
        slopes = torch.autograd.grad(loss, list(objective.model.parameters()))
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    gradients = torch.stack(rows)
    second = gradients.mean(0) ** 2
    if batch_size is not None:
        second = second + gradients.var(0, correction=0) / batch_size
    root = (second.sqrt() + 1e-3).sqrt()
    exact = float(torch.linalg.eigvalsh(model.hessian / root / root[:, None])[-1])
    assert found.lambda_max == pytest.approx(exact, rel=1e-5)
    assert ("16 samples" in found.preconditioner) == (batch_size is not None)


def test_no_epsilon_where_nothing_was_ever_moved():
    second = SECOND.clone()
    second[1] = 0
    with pytest.raises(InvalidArgument, match="eps is 0, and so is v̂ of 1 parameters"):
        largest_stable_rate(objective_of(Bowl()), "adam", eps=0.0, second_moment=second)
