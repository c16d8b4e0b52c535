"""Non-convexity where the formula gives the Hessian at every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import thalweg as tw
from landscape.models import cancer, relu_network
from thalweg.errors import InvalidArgument
from thalweg.landscape import Slice, axis_plane, evaluate, nonconvexity, random_line, random_plane
from thalweg.landscape.nonconvexity import convexity_ratios

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


@pytest.mark.parametrize(
    ("largest", "smallest", "ratio"),
    [
        (1, -10, 10),
        (-1, -10, 10),
        (10, -1, 0.1),
        (2, -2, 1),
        (1, 0, 0),
        (2, 1, 0),
        (0, 0, 0),
        (0, -1, np.nan),
        (np.nan, -1, np.nan),
        (np.nan, 1, np.nan),
        (1, np.nan, np.nan),
        (np.inf, 1, np.nan),
        (1, -np.inf, np.nan),
    ],
)
def test_ratios(largest: float, smallest: float, ratio: float) -> None:
    # A warning would be an error to whoever turns them into such.
    with np.errstate(all="raise"):
        found = convexity_ratios(np.array([[largest]], dtype=float), np.array([[smallest]], dtype=float))
    np.testing.assert_allclose(found, [[ratio]], rtol=1e-15)


def with_eigenvalues(largest: Sequence[float], smallest: Sequence[float]) -> Slice:
    """A line whose points have these eigenvalues."""
    bowl = tw.surfaces.quadratic(condition_number=5)
    found = evaluate(bowl, random_line(bowl, "none"), len(largest), metrics=CURVED)
    return replace(found, values={"lambda_max": np.array(largest), "lambda_min": np.array(smallest)})


@pytest.mark.parametrize("larger", [-10.0, 10.0])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_the_error_covers_a_hundredth_of_the_larger_eigenvalue(larger: float, up: int, down: int) -> None:
    """Both are known to a hundredth of the larger in size, which of the smaller is a tenth here."""
    largest, smallest = (1.0, larger) if larger < 0 else (larger, -1.0)
    told = nonconvexity(with_eigenvalues([largest] * 3, [smallest] * 3))
    assert told.ratio == pytest.approx(-smallest / largest)
    off = 0.01 * abs(larger)
    true = -(smallest + down * off) / (largest + up * off)
    assert abs(told.ratio - true) <= told.error
    assert told.error < 0.25 * told.ratio


def test_points_without_a_ratio_are_left_out() -> None:
    told = nonconvexity(with_eigenvalues([0.0, 4.0, 4.0, np.nan, 0.0], [-1.0, -2.0, 1.0, -1.0, 0.0]))
    # (0.5 + 0 + 0) / 3; where both are 0 it is flat, and convex.
    assert (told.ratio, told.points) == (pytest.approx(0.5 / 3), 3)
    assert told.negative == pytest.approx(1 / 3)
    assert np.isfinite(told.error)
    with pytest.raises(
        InvalidArgument, match="no point with eigenvalues that are finite and a λmax other than 0"
    ):
        nonconvexity(with_eigenvalues([0.0, 0.0, np.nan], [-1.0, -2.0, 1.0]))


def test_a_surface_that_is_flat_or_bends_down() -> None:
    """Of −y² the Hessian is diag(0, −2): there is no ratio anywhere."""
    ridge = tw.surfaces.Surface("ridge", lambda x: -(x[1] ** 2) + 0 * x[0], [0.0, 0.0])
    with pytest.raises(InvalidArgument, match="a λmax other than 0"):
        nonconvexity(evaluate(ridge, axis_plane(ridge), 3, metrics=CURVED))


def test_bad_input() -> None:
    bowl = tw.surfaces.quadratic(condition_number=5)
    with pytest.raises(InvalidArgument, match="lacks lambda_max and lambda_min"):
        nonconvexity(evaluate(bowl, axis_plane(bowl), 3))
