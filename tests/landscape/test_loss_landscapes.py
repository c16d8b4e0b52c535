"""The package loss-landscapes on the example of its documentation: the same values where both evaluate a point."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from benchmarks.loss_landscapes import example, their_map, their_plane
from torch import nn

from thalweg.landscape import evaluate, interpolate, line_through, plane_through

peer = pytest.importorskip(
    "loss_landscapes", reason="loss-landscapes is not installed: pip install '.[peers]'"
)

STEPS = 12
TOLERANCE = {torch.float64: 1e-14, torch.float32: 2e-6}
"""Relative, of a loss: some roundings of it, and of weights that it walks to by adding up steps."""


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["float64", "float32"])
def case(request):
    return example(request.param, epochs=10)


def loss(case):
    return peer.metrics.Loss(nn.CrossEntropyLoss(), case.x, case.y)


def dtype(case) -> torch.dtype:
    return next(case.final.parameters()).dtype


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("distance", [10, 0.5])
def test_random_planes(case, distance):
    """Its random_plane(model_final, metric, 10, STEPS, normalization='filter', deepcopy_model=True)."""
    theirs = their_map(case, distance, STEPS, seed=3)
    plane = their_plane(case.final, distance, STEPS, seed=3)
    ours = evaluate(case.loss(case.final), plane, STEPS + 1, rtol=None).values["loss"]
    # Its even rows are one step further along the second direction than its odd rows.
    for i, row in enumerate(theirs):
        first = 1 - i % 2
        np.testing.assert_allclose(ours[i, first : first + STEPS], row, rtol=TOLERANCE[dtype(case)])
    assert np.ptp(theirs) > 1e3 * TOLERANCE[dtype(case)]


def test_lines_between_two_models(case):
    """Its linear_interpolation(model_initial, model_final, metric, STEPS, deepcopy_model=True), from one step on."""
    theirs = peer.linear_interpolation(case.initial, case.final, loss(case), STEPS, deepcopy_model=True)
    line, objective = line_through(*map(weights, (case.initial, case.final))), case.loss(case.final)
    ours = [float(objective.loss(line.at([k / STEPS]))) for k in range(1, STEPS + 1)]
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype(case)])
    path = interpolate(objective, case.initial, case.final, points=STEPS + 1)
    at = [int(torch.argmin((path.t - k / STEPS).abs())) for k in range(1, STEPS + 1)]
    np.testing.assert_allclose(path.losses[at], theirs, rtol=10 * TOLERANCE[dtype(case)])


def test_planes_through_three_models(case):
    third = copy.deepcopy(case.initial)
    with torch.no_grad():
        for parameter in third.parameters():
            parameter.mul_(0.5)
    models = case.initial, case.final, third
    theirs = peer.planar_interpolation(*models, loss(case), STEPS, deepcopy_model=True)
    objective, plane = case.loss(case.final), plane_through(*map(weights, models))
    for i in (0, 1, 5, STEPS - 1):
        for j in (0, 4, STEPS - 1):
            ours = float(objective.loss(plane.at([i / STEPS, (j + 1 - i % 2) / STEPS])))
            assert ours == pytest.approx(theirs[i, j], rel=TOLERANCE[dtype(case)])


def test_the_model_is_left_alone_by_thalweg_and_not_by_its_metric(case):
    """Without deepcopy_model it leaves the weights where its walk ended; Thalweg has no such option."""
    model = copy.deepcopy(case.final)
    before = copy.deepcopy(model.state_dict())
    evaluate(case.loss(model), their_plane(model, 10, STEPS), 5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    peer.random_plane(model, loss(case), 10, 4)
    assert not all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
