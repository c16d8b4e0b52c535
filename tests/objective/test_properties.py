"""Invariants that hold for any model, data and vectors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.objective import Objective

from .test_objective import assert_same
from .zoo import classes, mlp, normal, seeded

N = 13
X, Y = normal(N, 4), classes(N, of=3)
seeds = st.integers(0, 2**31)
quick = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module")
def objective():
    return Objective(mlp(), F.cross_entropy, (X, Y), batch_size=5)


@st.composite
def cuts(draw):
    """The samples 0..N−1 in any order, cut into batches of any sizes."""
    order = draw(st.permutations(range(N)))
    ends = sorted(draw(st.sets(st.integers(1, N - 1))) | {N})
    return [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@quick
@given(seeds, st.floats(-5, 5), st.floats(-5, 5))
@pytest.mark.parametrize("product", ["hvp", "ggnvp"])
def test_products_are_linear_and_symmetric(objective, product, seed, a, b):
    theta = objective.point + 0.3 * normal(objective.size, seed=seed)
    u, v = normal(objective.size, 2, seed=seed + 1).unbind(1)
    with objective.at(theta) as here:
        matrix = getattr(here, product)
        hu, hv = matrix(torch.stack([u, v], 1)).unbind(1)
        assert_same(u @ hv, v @ hu)
        # Numbers of order one times a and b up to 5: rounding of some hundred eps of the largest.
        torch.testing.assert_close(matrix(a * u + b * v), a * hu + b * hv, rtol=0, atol=1e-11)
        if product == "ggnvp":
            assert u @ hu >= -1e-12


@quick
@given(cuts(), st.one_of(st.none(), st.integers(1, N)))
def test_how_the_data_are_cut_and_ordered_does_not_matter(objective, cut, microbatch):
    data = [(X[list(indices)], Y[list(indices)]) for indices in cut]
    other = Objective(objective.model, F.cross_entropy, data, microbatch=microbatch)
    v = objective.point
    assert other.samples == N
    assert_same(other.loss(), objective.loss())
    assert_same(other.gradient(), objective.gradient())
    assert_same(other.hvp(v), objective.hvp(v))
    metrics = other.at().measure(["loss", "accuracy"])
    wanted = objective.at().measure(["loss", "accuracy"])
    for name, measured in metrics.items():
        assert measured.value == pytest.approx(wanted[name].value, rel=1e-12)
        assert measured.stderr == pytest.approx(wanted[name].stderr, rel=1e-9)


@quick
@given(cuts(), st.lists(st.floats(0.1, 10), min_size=3, max_size=3), st.integers(0, 2))
def test_cutting_does_not_matter_for_weighted_and_skipping_losses(cut, weights, ignored):
    loss = nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float64), ignore_index=ignored)
    model = mlp()
    data = [(X[list(indices)], Y[list(indices)]) for indices in cut]
    assert_same(Objective(model, loss, data).loss(), loss(model(X), Y).detach())


@quick
@given(seeds)
def test_the_gradient_is_the_slope_of_the_loss_along_any_line(objective, seed):
    theta, v = objective.point, normal(objective.size, seed=seed)
    v = v / v.norm()
    # A central difference with h = 1e-4 is off by h²/6 times a third derivative of order ten, 2e-8.
    h = 1e-4
    slope = (objective.loss(theta + h * v) - objective.loss(theta - h * v)) / (2 * h)
    curvature = (objective.gradient(theta + h * v) - objective.gradient(theta - h * v)) / (2 * h)
    torch.testing.assert_close(objective.gradient(theta) @ v, slope, rtol=0, atol=1e-6)
    torch.testing.assert_close(objective.hvp(v, theta), curvature, rtol=0, atol=1e-6)


@quick
@given(seeds, st.floats(0.25, 4))
def test_rescaling_relu_layers_moves_the_gradient_the_other_way(seed, scale):
    # relu(s·a)/s = relu(a): the loss is the same, and each layer's gradient scales with the inverse of its own scale.
    model = seeded(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), seed=seed % 1000)
    objective = Objective(model, F.cross_entropy, (X, Y), batch_size=5)
    scales = torch.ones(objective.size, dtype=torch.float64)
    for block in objective.blocks:
        if block.name.startswith("0."):
            scales[block.span] = scale
        if block.name == "2.weight":
            scales[block.span] = 1 / scale
    theta = objective.point
    assert_same(objective.loss(scales * theta), objective.loss(theta))
    assert_same(scales * objective.gradient(scales * theta), objective.gradient(theta))
    v = normal(objective.size, seed=seed)
    assert_same(scales * objective.hvp(scales * v, scales * theta), objective.hvp(v, theta))


@quick
@given(seeds)
def test_theta_survives_the_way_through_state_and_model(objective, seed):
    theta = normal(objective.size, seed=seed)
    assert torch.equal(objective.flatten(objective.state(theta)), theta)
    before = objective.point
    objective.set_point(theta)
    assert torch.equal(objective.point, theta)
    objective.set_point(before)
    assert torch.equal(objective.point, before)
