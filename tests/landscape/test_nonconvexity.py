"""Non-convexity where the formula gives the Hessian at every point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import thalweg as tw
from landscape.models import cancer, relu_network
from thalweg.errors import InvalidArgument
from thalweg.landscape import axis_plane, evaluate, nonconvexity, random_plane

CURVED = ["lambda_max", "lambda_min"]


def test_a_surface_with_a_known_hessian() -> None:
    """Of 2x² + y³/6 the Hessian is diag(4, y)."""
    surface = tw.surfaces.Surface(
        "cubic", lambda x: 2 * x[0] ** 2 + x[1] ** 3 / 6, [0.0, 0.0], domain=(-2.0, 2.0)
    )
    found = evaluate(surface, axis_plane(surface, domain=surface.domain), 9, metrics=["loss", *CURVED])
    y = np.linspace(-2, 2, 9)
    told = nonconvexity(found)
    assert told.ratio == pytest.approx(np.maximum(-y, 0).mean() / 4, abs=told.error)
    assert told.negative == pytest.approx(4 / 9)
    assert told.points == 81


def test_a_bowl_is_convex() -> None:
    bowl = tw.surfaces.quadratic(condition_number=5)
    told = nonconvexity(evaluate(bowl, axis_plane(bowl, domain=bowl.domain), 5, metrics=CURVED))
    assert (told.ratio, told.negative) == (0, 0)


def test_a_network_against_dense_matrices() -> None:
    obj = tw.Objective(relu_network(torch.nn.Tanh), F.cross_entropy, cancer(40))
    plane = random_plane(obj)
    found = evaluate(obj, plane, 3, metrics=CURVED)
    ratios = []
    for a in found.axes["alpha"]:
        for b in found.axes["beta"]:
            values = torch.linalg.eigvalsh(tw.curvature.hessian(obj, plane.at([a, b])).dense())
            ratios.append(max(0.0, -float(values[0])) / abs(float(values[-1])))
    told = nonconvexity(found)
    assert told.ratio == pytest.approx(np.mean(ratios), abs=2 * told.error)


def test_bad_input() -> None:
    bowl = tw.surfaces.quadratic(condition_number=5)
    with pytest.raises(InvalidArgument, match="lacks lambda_max and lambda_min"):
        nonconvexity(evaluate(bowl, axis_plane(bowl), 3))
