"""What cannot be drawn is refused in one clear line; what can, but has holes, is drawn with them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.models import cancer, classifier, relu_network, seeded
from thalweg import plots, surfaces
from thalweg.errors import InvalidArgument, ShapeMismatch
from thalweg.landscape import (
    align,
    axis_plane,
    bezier_path,
    evaluate,
    interpolate,
    line_through,
    plane_through,
    random_line,
    random_plane,
    trajectory_plane,
)
from thalweg.objective import Objective


def refused(told: str, kind: type[Exception] = InvalidArgument):
    """One line that says so."""
    return pytest.raises(kind, match=rf"^[^\n]*{told}[^\n]*$")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, 2.0, -0.5, 0.1])
def test_directions_that_are_parallel(dtype, factor) -> None:
    draw = torch.Generator().manual_seed(0)
    # Far from zero, so that the differences of the points carry their rounding.
    a = 100 * torch.randn(50, generator=draw, dtype=dtype)
    d = torch.randn(50, generator=draw, dtype=dtype)
    with refused("the two directions of a slice must not be parallel"):
        plane_through(a, a + d, a + factor * d)
    bent = factor * d + 0.05 * abs(factor) * torch.randn(50, generator=draw, dtype=dtype)
    assert plane_through(a, a + d, a + bent).dim == 2


def test_directions_of_one_dimension_are_parallel() -> None:
    objective = Objective(nn.Linear(1, 1, bias=False), F.mse_loss, (torch.ones(3, 1), torch.ones(3, 1)))
    with refused("must not be parallel"):
        random_plane(objective)
    assert evaluate(objective, random_line(objective), 5).evaluated.all()


def test_points_that_are_the_same() -> None:
    a = torch.randn(5, dtype=torch.float64)
    with refused("direction 1 of a slice must not be zero, as it is between equal points"):
        line_through(a, a)
    with refused("direction 2 of a slice must not be zero"):
        plane_through(a, a + 1, a)


def test_points_that_are_not_finite() -> None:
    a = torch.ones(5)
    for bad in (math.nan, math.inf):
        with refused("the points of a slice must be finite"):
            line_through(a, a * bad)
        with refused("the points of a slice must be finite"):
            plane_through(a, 2 * a, torch.tensor([1.0, 2.0, bad, 3.0, 4.0]))
    model = relu_network()
    with torch.no_grad():
        model[0].bias[2] = math.nan
    with refused("the points of a slice must be finite"):
        random_plane(Objective(model, F.cross_entropy, cancer()))


def test_points_whose_squares_overflow_are_none_of_these() -> None:
    far = torch.full((5,), 1e200, dtype=torch.float64)
    assert line_through(far, 2 * far).dim == 1


@pytest.mark.parametrize("count", [1, 2])
def test_paths_too_short_for_a_plane(count) -> None:
    objective = classifier()
    with refused(f"checkpoints must hold at least 3 points to span a plane, got {count}"):
        trajectory_plane(objective, [objective.point] * count)


def test_checkpoints_that_are_all_the_same() -> None:
    objective = classifier()
    with refused("checkpoints do not span a plane"):
        trajectory_plane(objective, [objective.point] * 4)


def other(hidden: int = 9, layers: int = 1) -> nn.Module:
    more = [module for _ in range(layers) for module in (nn.ReLU(), nn.Linear(6, 6))]
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(30, hidden), nn.ReLU(), nn.Linear(hidden, 6), *more[:-1], nn.Linear(6, 2)
        )
    )


@pytest.mark.parametrize("connect", [interpolate, bezier_path])
def test_models_of_other_shapes_are_told_by_their_first_difference(connect) -> None:
    objective = classifier()
    with refused(r"b: 0.weight has shape \(9, 30\), that of the objective's model \(8, 30\)"):
        connect(objective, objective.model, other())
    deeper = nn.Sequential(*relu_network(), nn.ReLU(), nn.Linear(2, 2)).double()
    with refused("a holds 6.weight, which the objective's model has not"):
        connect(objective, deeper, objective.model)
    shallower = {name: value for name, value in objective.model.state_dict().items() if "4" not in name}
    with refused("lacks 2 of 6 parameters"):
        connect(objective, objective.model, shallower)
    with refused(r"0.weight is of shape \(8, 30\) in model_a and of shape \(9, 30\) in model_b"):
        align(objective.model, other())


def test_vectors_of_other_lengths() -> None:
    a = torch.ones(5)
    with refused(r"b must be a vector \(5,\), got shape \(4,\)", ShapeMismatch):
        line_through(a, torch.ones(4))
    with refused(r"theta must have shape", ShapeMismatch):
        interpolate(classifier(), a, a)


@pytest.mark.parametrize("resolution", [0, 1, 2, -3, 5.5, (5, 2), (5,), (5, 5, 5), "51", True])
def test_resolutions(resolution) -> None:
    objective = classifier()
    with refused(re.escape(f"resolution must be at least 3 along each of 2 axes, got {resolution}")):
        evaluate(objective, random_plane(objective), resolution)


@pytest.mark.parametrize("span", [0, 0.0, -1.0, math.nan, math.inf])
def test_spans(span) -> None:
    objective = classifier()
    with refused(f"span must be positive and finite, got {span}"):
        evaluate(objective, random_plane(objective), 5, span)


def test_filters_and_biases_of_zero_have_no_direction() -> None:
    """They stay where they are, and nothing is divided by their length."""
    model = relu_network()
    with torch.no_grad():
        model[0].weight[3:] = 0
        for layer in (0, 2, 4):
            model[layer].bias.zero_()
    objective = Objective(model, F.cross_entropy, cancer())
    plane = random_plane(objective)
    directions = objective.state(plane.directions[:, 0].contiguous())
    assert not directions["0.weight"][3:].any()
    assert not directions["0.bias"].any()
    torch.testing.assert_close(
        directions["0.weight"][:3].norm(dim=1), model[0].weight[:3].norm(dim=1).detach()
    )
    assert np.isfinite(evaluate(objective, plane, 5).values["loss"]).all()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with refused('leaves nothing of the direction here .* use normalization="none"'):
        random_plane(objective)


@pytest.mark.parametrize("rtol", [None, 0.01])
def test_values_that_are_not_finite_are_kept_and_drawn_as_missing(rtol) -> None:
    def formula(x):
        return torch.where(x[1] > 0.6, torch.inf, torch.where(x[0] > 0.6, torch.nan, 1 + (x**2).sum(0)))

    surface = surfaces.Surface("cliff", formula, [0.0, 0.0])
    found = evaluate(surface, axis_plane(surface), 21, rtol=rtol)
    x, y = np.meshgrid(*found.axes.values(), indexing="ij")
    loss = found.values["loss"]
    assert np.isinf(loss[y > 0.6]).all()
    assert np.isnan(loss[(x > 0.6) & (y <= 0.6)]).all()
    np.testing.assert_allclose(loss[(x <= 0.6) & (y <= 0.6)], (1 + x**2 + y**2)[(x <= 0.6) & (y <= 0.6)])
    ax = plots.contours(*found.axes.values(), loss)
    assert ax.patch.get_hatch() == "////"
    missing = int((~np.isfinite(loss)).sum())
    assert f"At {missing} of 441 points the loss is not a finite number (hatched)." in plots.Heights.of(
        loss
    ).remarks("loss")
